package webhook

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// Create is POST webhooks.
func (h *Hooks) Create(ctx context.Context, caller stoa.Caller, req *CreateRequest) (*Reply, error) {
	if err := owner(caller); err != nil {
		return nil, err
	}
	now := time.Now()
	w := Webhook{
		ID: newID(), Name: req.Name, Description: req.Description, URL: req.URL, Events: req.Events, Status: req.Status,
		Created: now.UnixMilli(), Updated: now.UnixMilli(),
	}
	if w.Status == "" {
		w.Status = statusActive
	}
	if err := h.check(&w, req.Secret); err != nil {
		return nil, err
	}
	err := h.config.DB.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO webhook_hooks (id, name, description, url, secret, status, created, updated) "+
			"VALUES (?, ?, ?, ?, ?, ?, ?, ?)", w.ID, w.Name, w.Description, w.URL, req.Secret, w.Status, now.UnixMicro(),
			now.UnixMicro())
		if err != nil {
			return err
		}
		if err := subscribe(ctx, tx, &w, nil, now); err != nil {
			return err
		}
		return h.note(ctx, tx, caller, "webhook.create", &w)
	})
	if err != nil {
		return nil, err
	}
	return h.Get(ctx, caller, &IDRequest{ID: w.ID})
}

// note records what was done to a webhook, without its address and secret.
func (h *Hooks) note(ctx context.Context, tx *store.Tx, caller stoa.Caller, what string, w *Webhook) error {
	return h.config.Ledger.Note(ctx, tx, ledger.Act{
		Actor: actor(caller), What: what, Subject: w.Name,
		Data: map[string]any{"webhook": w.ID, "events": w.Events, "status": w.Status},
	})
}

func actor(caller stoa.Caller) string {
	if caller.Name != "" {
		return caller.Name
	}
	return caller.ID
}

// subscribe writes the events of a webhook. Those in since stay as old as they are there.
func subscribe(ctx context.Context, tx *store.Tx, w *Webhook, since map[string]int64, now time.Time) error {
	if _, err := tx.Exec(ctx, "DELETE FROM webhook_subscriptions WHERE hook = ?", w.ID); err != nil {
		return err
	}
	done := map[string]bool{}
	for i, e := range w.Events {
		name := eventName(e)
		if done[name] {
			continue
		}
		done[name] = true
		from, kept := since[name]
		if !kept {
			from = now.UnixMicro()
		}
		_, err := tx.Exec(ctx, "INSERT INTO webhook_subscriptions (hook, place, event, since) VALUES (?, ?, ?, ?)",
			w.ID, i, name, from)
		if err != nil {
			return err
		}
	}
	return nil
}

// find reads a webhook with its secret, and since when it listens to what.
func find(ctx context.Context, tx *store.Tx, id string) (w Webhook, secret string, since map[string]int64, err error) {
	w.ID = id
	err = tx.QueryRow(ctx, "SELECT name, description, url, secret, status, created, updated FROM webhook_hooks "+
		"WHERE id = ?", id).Scan(&w.Name, &w.Description, &w.URL, &secret, &w.Status, &w.Created, &w.Updated)
	if errors.Is(err, sql.ErrNoRows) {
		err = &stoa.Refusal{
			Reason: stoa.ReasonNotFound, Message: fmt.Sprintf("Webhook with ID %.100s not found.", id),
		}
	}
	if err != nil {
		return w, "", nil, err
	}
	w.Created, w.Updated = w.Created/1000, w.Updated/1000
	rows, err := tx.Query(ctx, "SELECT event, since FROM webhook_subscriptions WHERE hook = ? ORDER BY place", id)
	if err != nil {
		return w, "", nil, err
	}
	defer func() { _ = rows.Close() }() // Err says what went wrong
	since = map[string]int64{}
	for rows.Next() {
		var name string
		var from int64
		if err := rows.Scan(&name, &from); err != nil {
			return w, "", nil, err
		}
		w.Events, since[name] = append(w.Events, eventOf(name)), from
	}
	return w, secret, since, rows.Err()
}

// Get is GET webhooks/{webhook_id}.
func (h *Hooks) Get(ctx context.Context, caller stoa.Caller, req *IDRequest) (*Reply, error) {
	if err := owner(caller); err != nil {
		return nil, err
	}
	var reply Reply
	err := h.config.DB.Read(ctx, func(tx *store.Tx) (err error) {
		reply.Webhook, _, _, err = find(ctx, tx, req.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// List is GET webhooks. A page token is the number of webhooks before the page, as upstream's.
func (h *Hooks) List(ctx context.Context, caller stoa.Caller, req *ListRequest) (*ListReply, error) {
	if err := owner(caller); err != nil {
		return nil, err
	}
	limit, offset := usualPage, 0
	if req.MaxResults != nil {
		if *req.MaxResults < 1 || *req.MaxResults > maxPage {
			return nil, invalid("max_results must be between 1 and 1000.")
		}
		limit = int(*req.MaxResults)
	}
	if req.PageToken != "" {
		var err error
		if offset, err = strconv.Atoi(req.PageToken); err != nil || offset < 0 {
			return nil, invalid("Invalid page token")
		}
	}
	reply := &ListReply{}
	err := h.config.DB.Read(ctx, func(tx *store.Tx) error {
		ids, err := column(ctx, tx, "SELECT id FROM webhook_hooks ORDER BY created DESC, id LIMIT ? OFFSET ?",
			limit+1, offset)
		if err != nil {
			return err
		}
		if len(ids) > limit {
			ids, reply.NextPageToken = ids[:limit], strconv.Itoa(offset+limit)
		}
		for _, id := range ids {
			w, _, _, err := find(ctx, tx, id)
			if err != nil {
				return err
			}
			reply.Webhooks = append(reply.Webhooks, w)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// Update is PATCH webhooks/{webhook_id}. A webhook that is disabled loses what was still to be sent; one that is enabled
// again listens from then on.
func (h *Hooks) Update(ctx context.Context, caller stoa.Caller, req *UpdateRequest) (*Reply, error) {
	if err := owner(caller); err != nil {
		return nil, err
	}
	err := h.config.DB.Write(ctx, func(tx *store.Tx) error {
		w, secret, since, err := find(ctx, tx, req.ID)
		if err != nil {
			return err
		}
		before := w.Status
		for _, f := range []struct{ to, from *string }{
			{&w.Name, req.Name}, {&w.Description, req.Description}, {&w.URL, req.URL}, {&secret, req.Secret},
			{&w.Status, req.Status},
		} {
			if f.from != nil {
				*f.to = *f.from
			}
		}
		if len(req.Events) > 0 {
			w.Events = slices.Clone(req.Events)
		}
		if err := h.check(&w, secret); err != nil {
			return err
		}
		if before != w.Status {
			since = nil
		}
		now := time.Now()
		_, err = tx.Exec(ctx, "UPDATE webhook_hooks SET name = ?, description = ?, url = ?, secret = ?, status = ?, "+
			"updated = ? WHERE id = ?", w.Name, w.Description, w.URL, secret, w.Status, now.UnixMicro(), w.ID)
		if err != nil {
			return err
		}
		if err := subscribe(ctx, tx, &w, since, now); err != nil {
			return err
		}
		if w.Status == statusDisabled {
			if _, err := tx.Exec(ctx, "DELETE FROM webhook_deliveries WHERE hook = ?", w.ID); err != nil {
				return err
			}
		}
		return h.note(ctx, tx, caller, "webhook.update", &w)
	})
	if err != nil {
		return nil, err
	}
	return h.Get(ctx, caller, &IDRequest{ID: req.ID})
}

// Delete is DELETE webhooks/{webhook_id}. What was still to be sent goes with it.
func (h *Hooks) Delete(ctx context.Context, caller stoa.Caller, req *IDRequest) (*Empty, error) {
	if err := owner(caller); err != nil {
		return nil, err
	}
	err := h.config.DB.Write(ctx, func(tx *store.Tx) error {
		w, _, _, err := find(ctx, tx, req.ID)
		if err != nil {
			return err
		}
		for _, table := range []string{
			"webhook_deliveries WHERE hook", "webhook_subscriptions WHERE hook", "webhook_hooks WHERE id",
		} {
			if _, err := tx.Exec(ctx, "DELETE FROM "+table+" = ?", w.ID); err != nil {
				return err
			}
		}
		return h.note(ctx, tx, caller, "webhook.delete", &w)
	})
	if err != nil {
		return nil, err
	}
	return &Empty{}, nil
}

// Test is POST webhooks/{webhook_id}/test: it sends an example, once, while the caller waits.
func (h *Hooks) Test(ctx context.Context, caller stoa.Caller, req *TestRequest) (*TestReply, error) {
	if err := owner(caller); err != nil {
		return nil, err
	}
	d := delivery{id: newID(), hook: req.ID}
	var event string
	err := h.config.DB.Read(ctx, func(tx *store.Tx) error {
		w, secret, _, err := find(ctx, tx, req.ID)
		if err != nil {
			return err
		}
		d.name, d.url, d.secret, event = w.Name, w.URL, secret, eventName(w.Events[0])
		return nil
	})
	if err != nil {
		return nil, err
	}
	if req.Event != nil {
		event = eventName(*req.Event)
	}
	data := examples()[event]
	if data == nil {
		return nil, invalid("This server sends no event " + event + ".")
	}
	body, err := write(event, time.Now(), data)
	if err != nil {
		return nil, err
	}
	d.body = string(body)
	status, reply, err := h.post(ctx, &d)
	if err != nil {
		return &TestReply{Result{Error: "Failed to test webhook: " + err.Error()}}, nil
	}
	return &TestReply{Result{Success: status >= 200 && status <= 299, Status: status, Body: reply}}, nil
}
