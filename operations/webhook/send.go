package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// maxReply is how much of a receiver's answer is read.
const maxReply = 4 << 10

// A delivery is a message on its way to a webhook.
type delivery struct {
	id, hook, name, url, secret string
	body                        string
	attempts                    int64
}

// sign is the value of X-MLflow-Signature: HMAC-SHA256 with the secret over the id, the time in seconds since 1970 and
// the body, joined by points, in base64 behind the version of the scheme.
func sign(secret, id, at, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, id+"."+at+"."+body) // a hash takes everything
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// post makes one attempt, and gives the status and the beginning of the answer.
func (h *Hooks) post(ctx context.Context, d *delivery) (status int, reply string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader([]byte(d.body)))
	if err != nil {
		return 0, "", errors.New("the address cannot be read")
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-MLflow-Delivery-Id", d.id)
	req.Header.Set("X-MLflow-Timestamp", at)
	if d.secret != "" {
		req.Header.Set("X-MLflow-Signature", sign(d.secret, d.id, at, d.body))
	}
	client := h.secure
	if req.URL.Scheme != "https" {
		client = h.plain
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as it is wanted
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return 0, "", withoutURL(err)
	}
	return resp.StatusCode, strings.ToValidUTF8(string(text), "\uFFFD"), nil
}

// withoutURL takes the address out of an error: it may hold a token.
func withoutURL(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// dispatch begins to send to every webhook that a delivery is due to, as long as a worker is free.
func (h *Hooks) dispatch(ctx context.Context) error {
	var hooks []string
	err := h.config.DB.Read(ctx, func(tx *store.Tx) (err error) {
		hooks, err = column(ctx, tx, "SELECT hook FROM webhook_deliveries WHERE due <= ? GROUP BY hook ORDER BY MIN(due)",
			time.Now().UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	for _, hook := range hooks {
		if h.take(hook) {
			h.running.Go(func() { h.deliver(ctx, hook) })
		}
	}
	return nil
}

// take claims a worker for a webhook that none works for.
func (h *Hooks) take(hook string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy[hook] || len(h.busy) >= workers {
		return false
	}
	h.busy[hook] = true
	return true
}

// deliver sends the first delivery that is due to a webhook, and has run look for the next.
func (h *Hooks) deliver(ctx context.Context, hook string) {
	err := h.sendFirst(ctx, hook)
	h.mu.Lock()
	delete(h.busy, hook)
	h.mu.Unlock()
	if err == nil {
		h.nudge()
	} else if ctx.Err() == nil {
		h.config.Logger.Error("a webhook's delivery cannot be kept", "webhook", hook, "err", err)
	}
}

func (h *Hooks) sendFirst(ctx context.Context, hook string) error {
	d := delivery{hook: hook}
	err := h.config.DB.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, "SELECT d.id, h.name, h.url, h.secret, d.body, d.attempts FROM webhook_deliveries d "+
			"JOIN webhook_hooks h ON h.id = d.hook WHERE d.hook = ? AND d.due <= ? ORDER BY d.seq, d.part LIMIT 1",
			hook, time.Now().UnixMicro()).Scan(&d.id, &d.name, &d.url, &d.secret, &d.body, &d.attempts)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	status, _, sendErr := h.post(ctx, &d)
	if sendErr != nil && ctx.Err() != nil {
		return ctx.Err() // this process is stopping, which is not the receiver's fault
	}
	if sendErr == nil && (status < 200 || status > 299) {
		sendErr = fmt.Errorf("the receiver answered %d", status)
	}
	return h.settle(context.WithoutCancel(ctx), &d, sendErr)
}

// settle removes a delivery that arrived, or that is given up, and puts off another.
func (h *Hooks) settle(ctx context.Context, d *delivery, failure error) error {
	d.attempts++
	over := failure == nil || d.attempts >= maxAttempts || errors.Is(failure, errBlocked)
	if failure != nil {
		h.config.Logger.Warn("a webhook was not delivered",
			"webhook", d.hook, "delivery", d.id, "attempt", d.attempts, "given_up", over, "err", failure)
	}
	return h.config.DB.Write(ctx, func(tx *store.Tx) error {
		if !over {
			_, err := tx.Exec(ctx, "UPDATE webhook_deliveries SET attempts = ?, due = ? WHERE id = ?",
				d.attempts, time.Now().Add(wait(d.attempts)).UnixMicro(), d.id)
			return err
		}
		gone, err := tx.Exec(ctx, "DELETE FROM webhook_deliveries WHERE id = ?", d.id)
		if err != nil || failure == nil {
			return err
		}
		if n, err := gone.RowsAffected(); err != nil || n == 0 {
			return err // the webhook was deleted in between
		}
		return h.config.Ledger.Note(ctx, tx, ledger.Act{
			Actor: "stoa", What: "webhook.give_up", Subject: d.name, Why: failure.Error(),
			Data: map[string]any{"webhook": d.hook, "delivery": d.id, "attempts": d.attempts},
		})
	})
}
