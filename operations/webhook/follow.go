package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// cursorName is the name of the cursor over the ledger's events.
const cursorName = "ledger"

// The tags that make a prompt of a model, as the client writes them.
const (
	tagPrompt     = "mlflow.prompt.is_prompt"
	tagPromptType = "_mlflow_prompt_type"
	tagPromptText = "mlflow.prompt.text"
)

// A message is the body of a delivery.
type message struct {
	Entity    string         `json:"entity"`
	Action    string         `json:"action"`
	Timestamp string         `json:"timestamp"` // when it happened, ISO 8601
	Data      map[string]any `json:"data"`
}

// A news is a part of what an event of the ledger says.
type news struct {
	seq, part int64
	at        int64 // microseconds
	event     string
	body      []byte
}

// follow makes deliveries of the events after the cursor.
func (h *Hooks) follow(ctx context.Context) error {
	for {
		events, err := h.config.Ledger.Events(ctx, h.cursor, page)
		if err != nil || len(events) == 0 {
			return err
		}
		var all []news
		for _, e := range events {
			some, err := h.read(ctx, e)
			if err != nil {
				return fmt.Errorf("webhook: event %d of the ledger: %w", e.Seq, err)
			}
			all = append(all, some...)
		}
		to := events[len(events)-1].Seq
		// Events that concern no webhook are read again after a crash, which costs less than a write for each.
		if len(all) > 0 || to-h.saved >= page {
			if err := h.config.DB.Write(ctx, func(tx *store.Tx) error { return h.enqueue(ctx, tx, all, to) }); err != nil {
				return fmt.Errorf("webhook: %w", err)
			}
			h.saved = to
		}
		h.cursor = to
	}
}

// read says what an event of the ledger means to webhooks.
func (h *Hooks) read(ctx context.Context, e ledger.Event) ([]news, error) {
	switch e.What {
	case "model.create":
		about, err := h.config.Describe(ctx, e.Subject, 0)
		if err != nil {
			return nil, err
		}
		return tell(e, "registered_model.created", about, map[string]any{
			"name": e.Subject, "tags": nil, "description": about.Description,
		})
	case "version.register":
		var v struct {
			Version int `json:"version"`
		}
		if err := json.Unmarshal(e.Data, &v); err != nil {
			return nil, err
		}
		about, err := h.config.Describe(ctx, e.Subject, v.Version)
		if err != nil {
			return nil, err
		}
		return tell(e, "model_version.created", about, map[string]any{
			"name": e.Subject, "version": strconv.Itoa(v.Version), "source": about.Source, "run_id": orNull(about.RunID),
			"tags": nil, "description": orNull(about.Description),
		})
	case "alias.move":
		return h.readMove(ctx, e)
	}
	return nil, nil
}

// readMove tells of an alias, and of the alias that the one before it got.
func (h *Hooks) readMove(ctx context.Context, e ledger.Event) ([]news, error) {
	var m struct {
		Alias    string `json:"alias"`
		To       int    `json:"to"`
		Previous int    `json:"previous"`
	}
	if err := json.Unmarshal(e.Data, &m); err != nil {
		return nil, err
	}
	about, err := h.config.Describe(ctx, e.Subject, 0)
	if err != nil {
		return nil, err
	}
	if m.To == 0 {
		return tell(e, "model_version_alias.deleted", about, map[string]any{"name": e.Subject, "alias": m.Alias})
	}
	all, err := tell(e, "model_version_alias.created", about,
		map[string]any{"name": e.Subject, "alias": m.Alias, "version": strconv.Itoa(m.To)})
	if err != nil || m.Previous == 0 {
		return all, err
	}
	before, err := tell(e, "model_version_alias.created", about,
		map[string]any{"name": e.Subject, "alias": "previous", "version": strconv.Itoa(m.Previous)})
	for i := range before {
		before[i].part = 1
	}
	return append(all, before...), err
}

// tell makes the message of an event, in the words for prompts where it is of a prompt.
func tell(e ledger.Event, event string, about About, data map[string]any) ([]news, error) {
	_, tagged := data["tags"]
	prompt := strings.EqualFold(about.Tags[tagPrompt], "true")
	if prompt {
		event = strings.Replace(strings.Replace(event, "registered_model", "prompt", 1), "model_version", "prompt_version", 1)
		event = strings.Replace(event, "prompt_version_alias", "prompt_alias", 1)
	}
	if tagged {
		tags := map[string]string{}
		for k, v := range about.Tags {
			if !prompt || k != tagPrompt && k != tagPromptType && k != tagPromptText {
				tags[k] = v
			}
		}
		data["tags"] = tags
	}
	if event == "prompt_version.created" {
		data["template"] = about.Tags[tagPromptText]
		delete(data, "source")
		delete(data, "run_id")
	}
	body, err := write(event, e.At, data)
	return []news{{seq: e.Seq, at: e.At.UnixMicro(), event: event, body: body}}, err
}

// write gives the body of a delivery.
func write(event string, at time.Time, data map[string]any) ([]byte, error) {
	entity, action, _ := strings.Cut(event, ".")
	return json.Marshal(message{entity, action, at.UTC().Format("2006-01-02T15:04:05.000000+00:00"), data})
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// enqueue writes the deliveries of some news, and moves the cursor.
func (h *Hooks) enqueue(ctx context.Context, tx *store.Tx, all []news, to int64) error {
	for _, n := range all {
		hooks, err := listeners(ctx, tx, n)
		if err != nil {
			return err
		}
		for _, hook := range hooks {
			_, err := tx.Exec(ctx, "INSERT INTO webhook_deliveries (id, hook, seq, part, body, attempts, due) "+
				"VALUES (?, ?, ?, ?, ?, 0, ?)", newID(), hook, n.seq, n.part, string(n.body), time.Now().UnixMicro())
			if err != nil {
				return err
			}
		}
	}
	_, err := tx.Exec(ctx, "UPDATE webhook_cursors SET seq = ? WHERE name = ?", to, cursorName)
	return err
}

// listeners are the webhooks that were listening when something happened.
func listeners(ctx context.Context, tx *store.Tx, n news) ([]string, error) {
	return column(ctx, tx, "SELECT h.id FROM webhook_hooks h JOIN webhook_subscriptions s ON s.hook = h.id "+
		"WHERE s.event = ? AND s.since <= ? AND h.status = ? ORDER BY h.id", n.event, n.at, statusActive)
}

// column reads the texts that a query gives.
func column(ctx context.Context, tx *store.Tx, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err says what went wrong
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// newID is a random UUID, version 4.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
