// Package ledger is the desk of the house: whatever changes the world passes over it.
//
// A change is an [Entry]. It is proposed once, by a key that names the change (proposing the same key again finds the
// entry that is there), and moves through states that only go forward:
//
//	proposed ──approve──▶ approved ──start──▶ running ──finish──▶ done
//	   └─────reject─────▶ rejected               └──────fail────▶ failed
//
// While it runs it may leave steps, and after a crash it is started again and reads them to go on where it stopped.
// An act that needs nobody's approval leaves a note instead ([Ledger.Note]).
//
// Every move and every note is one event in a table that only grows. An event carries the hash of the one before it and
// its own, SHA-256 over that and all of its fields, so that [Verify] finds an event that was edited, removed, put in
// or moved. Where the chain ends is written down twice more: in the database, in the transaction that adds the event,
// and, [WithAnchor], in a file beside it after the commit. A chain that is longer than the file says is one whose
// process died in between; a chain that does not contain what the file says has lost its end or was written anew. The
// hashes are not signed: who can write the database and the file can write another history, and only a copy of the
// head kept elsewhere would show it.
//
// The state of an entry is stored beside its events, in the same transaction, and is what they add up to; Verify adds
// them up again and compares.
//
// A room that changes tables of its own along with the ledger uses the methods ending in Tx, in its own transaction.
package ledger

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/stoaproject/stoa/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Kind says what sort of change an entry is.
type Kind string

// The kinds of change that Stoa makes.
const (
	KindRetrain  Kind = "retrain"  // train a new version
	KindRollout  Kind = "rollout"  // bring a version into service by stages
	KindAlias    Kind = "alias"    // point an alias at a version
	KindRegister Kind = "register" // register a version
	KindKey      Kind = "key"      // create or revoke an access key
)

// A State is where an entry stands.
type State string

// The states of an entry.
const (
	StateProposed State = "proposed"
	StateApproved State = "approved"
	StateRejected State = "rejected" // final
	StateRunning  State = "running"
	StateDone     State = "done"   // final
	StateFailed   State = "failed" // final
)

// An Entry is a change to the world.
type Entry struct {
	ID         int64           `json:"id"`
	Key        string          `json:"key"`
	Kind       Kind            `json:"kind"`
	Subject    string          `json:"subject"` // what is changed: the model's name, mostly
	State      State           `json:"state"`
	Payload    json.RawMessage `json:"payload,omitempty"` // what is to be done
	Result     json.RawMessage `json:"result,omitempty"`  // what came of it, when done
	Why        string          `json:"why,omitempty"`     // why it was proposed
	Decision   string          `json:"decision,omitempty"`
	ProposedBy string          `json:"proposed_by"`
	DecidedBy  string          `json:"decided_by,omitempty"` // who approved or rejected it
	Error      string          `json:"error,omitempty"`      // why it failed, when failed
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

// A Proposal asks for a change. Key, Kind and By must not be empty.
type Proposal struct {
	Key     string // names the change: the same key is the same change
	Kind    Kind
	Subject string
	Payload any // encoded as JSON; nil for none
	Why     string
	By      string
}

// An Act is something done that needed no approval of its own. Actor and What must not be empty.
type Act struct {
	Actor   string
	What    string // e.g. "alias.move"; the prefix "entry." is the ledger's own
	Subject string
	Entry   int64 // entry that it was done for; 0 for none
	Why     string
	Data    any // encoded as JSON; nil for none
}

// An Event is one row of the chain. Hashes are 64 hexadecimal digits; Prev of the first is empty.
type Event struct {
	Seq     int64           `json:"seq"`
	At      time.Time       `json:"at"`
	What    string          `json:"what"`
	Actor   string          `json:"actor"`
	Entry   int64           `json:"entry,omitempty"`
	Kind    Kind            `json:"kind,omitempty"`
	Subject string          `json:"subject,omitempty"`
	Key     string          `json:"key,omitempty"`
	Step    string          `json:"step,omitempty"`
	Why     string          `json:"why,omitempty"`
	Error   string          `json:"error,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	Prev    string          `json:"prev"`
	Hash    string          `json:"hash"`
}

// A Step is a record that a running entry left.
type Step struct {
	Seq  int64           `json:"seq"`
	Name string          `json:"step"`
	Data json.RawMessage `json:"data,omitempty"`
	At   time.Time       `json:"at"`
}

// A Filter chooses entries. A zero field leaves them all.
type Filter struct {
	Kind    Kind
	Subject string
	States  []State
	After   int64 // only ids above this one
	Limit   int   // at most so many
}

// An Option changes how a ledger is opened or verified.
type Option func(*options)

type options struct {
	anchor string
	now    func() time.Time
}

// AnchorFile is the usual name of the anchor in a data directory.
const AnchorFile = "ledger.head"

// WithAnchor keeps the head of the chain in the file path as well, and has [Verify] compare it.
func WithAnchor(path string) Option { return func(o *options) { o.anchor = path } }

// WithClock takes the time from now instead of [time.Now].
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

func gather(opts []Option) options {
	o := options{now: time.Now}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// A Ledger is the ledger in one database. It is safe for concurrent use.
type Ledger struct {
	db      *store.DB
	logger  *slog.Logger
	options options
	anchor  *anchor // nil without WithAnchor
	pending int64   // seq of the newest event of the transaction under way; owned by who writes to db
}

// New opens the ledger in db, making its tables when they do not exist. With an anchor that the chain does not contain
// it opens all the same, says so in the log, and leaves the anchor alone for [Ledger.Verify] to find.
func New(ctx context.Context, db *store.DB, logger *slog.Logger, opts ...Option) (*Ledger, error) {
	l := &Ledger{db: db, logger: logger, options: gather(opts)}
	if err := db.Migrate(ctx, "ledger", migrations); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if l.options.anchor != "" {
		opened, err := openAnchor(ctx, db, logger, l.options.anchor)
		if err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		l.anchor = opened
	}
	return l, nil
}

// Verify is [Verify] with the options that the ledger was opened with.
func (l *Ledger) Verify(ctx context.Context) (Report, error) {
	return verify(ctx, l.db, l.options)
}
