package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// The events of an entry.
const (
	reserved     = "entry."
	whatProposed = reserved + "proposed"
	whatApproved = reserved + "approved"
	whatRejected = reserved + "rejected"
	whatStarted  = reserved + "started"
	whatStep     = reserved + "step"
	whatDone     = reserved + "done"
	whatFailed   = reserved + "failed"
)

// event is an [Event] as stored. Compatibility: the fields, their order in sum and the domain there never change. A new
// field needs a new domain, used from a stored seq on.
type event struct {
	seq   int64
	at    int64 // microseconds since 1970, UTC
	entry int64

	what, actor, kind, subject, key, step, why, failure, data, prev, hash string
}

// sum computes the hash of an event: SHA-256 over the domain, the numbers as 8 bytes and the texts each after its
// length as 8 bytes, big-endian. The lengths make the encoding unambiguous: no two events have the same one.
func (e *event) sum() string {
	const domain = "stoa ledger event 1\n"
	buf := make([]byte, 0, 512+len(e.data))
	buf = append(buf, domain...)
	for _, number := range []int64{e.seq, e.at, e.entry} {
		buf = binary.BigEndian.AppendUint64(buf, uint64(number))
	}
	texts := []string{e.prev, e.what, e.actor, e.kind, e.subject, e.key, e.step, e.why, e.failure, e.data}
	for _, text := range texts {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(text)))
		buf = append(buf, text...)
	}
	digest := sha256.Sum256(buf)
	return hex.EncodeToString(digest[:])
}

// public gives the API form.
func (e *event) public() Event {
	return Event{
		Seq: e.seq, At: fromMicros(e.at), What: e.what, Actor: e.actor, Entry: e.entry, Kind: Kind(e.kind),
		Subject: e.subject, Key: e.key, Step: e.step, Why: e.why, Error: e.failure, Data: raw(e.data),
		Prev: e.prev, Hash: e.hash,
	}
}

const eventColumns = "seq, at, entry, what, actor, kind, subject, key, step, why, error, data, prev, hash"

// scanEvent reads a row of eventColumns.
func scanEvent(scan func(...any) error) (event, error) {
	var e event
	err := scan(&e.seq, &e.at, &e.entry, &e.what, &e.actor, &e.kind, &e.subject, &e.key, &e.step, &e.why, &e.failure,
		&e.data, &e.prev, &e.hash)
	return e, err
}

// head is where the chain ends. The zero head is that of an empty chain.
type head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

func readHead(ctx context.Context, tx *store.Tx) (head, error) {
	var h head
	err := tx.QueryRow(ctx, "SELECT seq, hash FROM ledger_head WHERE one = 1").Scan(&h.Seq, &h.Hash)
	if err != nil {
		return head{}, fmt.Errorf("ledger: read the head of the chain: %w", err)
	}
	return h, nil
}

// append puts e at the end of the chain, filling in its seq, time and hashes. A proposal becomes its own entry.
func (l *Ledger) append(ctx context.Context, tx *store.Tx, e *event) error {
	last, err := readHead(ctx, tx)
	if err != nil {
		return err
	}
	e.seq, e.prev, e.at = last.Seq+1, last.Hash, l.options.now().UnixMicro()
	if e.what == whatProposed {
		e.entry = e.seq
	}
	e.hash = e.sum()
	if _, err := tx.Exec(ctx, "INSERT INTO ledger_event ("+eventColumns+
		") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		e.seq, e.at, e.entry, e.what, e.actor, e.kind, e.subject, e.key, e.step, e.why, e.failure, e.data, e.prev,
		e.hash); err != nil {
		return fmt.Errorf("ledger: append: %w", err)
	}
	next := head{Seq: e.seq, Hash: e.hash}
	if _, err := tx.Exec(ctx, "UPDATE ledger_head SET seq = ?, hash = ? WHERE one = 1", next.Seq, next.Hash); err != nil {
		return fmt.Errorf("ledger: append: %w", err)
	}
	if l.anchor != nil {
		l.pending = next.Seq
		tx.OnCommit(func() {
			if l.pending == next.Seq { // the last of its transaction speaks for all
				l.anchor.advance(next)
			}
		})
	}
	return nil
}

// Note records an act in the transaction that does it.
func (l *Ledger) Note(ctx context.Context, tx *store.Tx, act Act) error {
	if act.Actor == "" || act.What == "" || strings.HasPrefix(act.What, reserved) {
		return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: fmt.Sprintf(
			"an act needs an actor and a name that does not begin with %q; got %q by %q", reserved, act.What, act.Actor)}
	}
	data, err := encode(act.Data)
	if err != nil {
		return err
	}
	return l.append(ctx, tx, &event{
		what: act.What, actor: act.Actor, subject: act.Subject, entry: act.Entry, why: act.Why, data: data,
	})
}

// encode gives v as JSON, or "" for nil.
func encode(v any) (string, error) {
	if message, ok := v.(json.RawMessage); v == nil || ok && len(message) == 0 {
		return "", nil
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("ledger: encode %T: %w", v, err)
	}
	return string(encoded), nil
}

// raw is the inverse of encode.
func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

func fromMicros(at int64) time.Time { return time.UnixMicro(at).UTC() }
