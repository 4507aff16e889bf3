// Package webhook tells other systems what happens in the registry, in MLflow's form.
//
// A webhook is an address with a list of events. The owner makes them; their secrets and addresses are shown to nobody
// else, the secret to nobody at all. It stands in the database as it was given: encryption at rest is the vault's.
//
// Nothing is sent while the registry changes. The registry notes its changes in the ledger in the transaction that makes
// them, and [Hooks] follows the ledger's events with a cursor of its own. In one transaction it moves the cursor past an
// event and writes a delivery for each webhook that listens, so that after a crash it goes on where it stopped and
// neither loses an event nor makes a delivery twice. An event from before a webhook listened is not sent to it.
//
//	registry ── ledger event ──▶ follow ── deliveries ──▶ send ──2xx──▶ forgotten
//	                                          ▲             └─otherwise──▶ later, or given up
//	                                          └──────────────────┘
//
// A delivery is removed when the receiver has answered 2xx, so that a crash in between sends it again: at least once,
// with the same X-MLflow-Delivery-Id. A webhook gets its deliveries one after the other, oldest first among those that
// are due; one that waits for its next attempt does not hold up the others. The wait doubles with each attempt, less a
// random part of up to a half. After the last attempt it is given up, and the ledger says so.
//
// An address is a way for who may set it to have this process send requests. Only https is taken, only to addresses of
// the public internet, checked on the address that is connected to; redirects are not followed. Receivers on the same
// machine, over http as well, are for the workload's owner to allow.
package webhook

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	workers     = 4                // deliveries under way at once
	page        = 500              // events read at once
	timeout     = 10 * time.Second // of one attempt, as upstream has it for connections
	usualEvery  = time.Second
	maxAttempts = 12 // within 2.5 hours
	firstWait   = 5 * time.Second
	longestWait = time.Hour
)

// About is what the registry says of a model or a version at the time of the delivery.
type About struct {
	Description, Source, RunID string
	Tags                       map[string]string
}

// Config is what [New] needs.
type Config struct {
	DB     *store.DB
	Ledger *ledger.Ledger
	// Describe tells of a model, or with a number above 0 of its version. What is gone by now is an empty About.
	Describe func(ctx context.Context, model string, version int) (About, error)
	Loopback func() bool // whether receivers on this machine are allowed; nil for never
	Logger   *slog.Logger
	Every    time.Duration // between looks at the ledger; 0 for 1 s
}

// Hooks are the webhooks of one database. They are safe for concurrent use.
type Hooks struct {
	config   Config
	reserved []netip.Prefix
	plain    *http.Client // http: to this machine
	secure   *http.Client // https
	cursor   int64        // the last event that was followed; owned by run
	saved    int64        // the cursor in the database; owned by run

	mu   sync.Mutex
	busy map[string]bool // webhooks that a delivery is under way to

	wake    chan struct{}
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New makes the tables where they do not exist, and begins to follow the ledger.
func New(ctx context.Context, config Config) (*Hooks, error) {
	h, err := open(ctx, config)
	if err != nil {
		return nil, err
	}
	h.begin(ctx)
	return h, nil
}

func open(ctx context.Context, config Config) (*Hooks, error) {
	if config.Loopback == nil {
		config.Loopback = func() bool { return false }
	}
	if config.Every <= 0 {
		config.Every = usualEvery
	}
	if err := config.DB.Migrate(ctx, "webhook", migrations); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	h := &Hooks{config: config, reserved: reserved(), busy: map[string]bool{}, wake: make(chan struct{}, 1)}
	err := config.DB.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, "SELECT seq FROM webhook_cursors WHERE name = ?", cursorName).Scan(&h.cursor)
	})
	if err != nil {
		return nil, fmt.Errorf("webhook: reading the cursor: %w", err)
	}
	h.saved = h.cursor
	loopback := func(addr netip.Addr) bool { return addr.Unmap().IsLoopback() && h.config.Loopback() }
	h.plain = newClient(timeout, loopback)
	h.secure = newClient(timeout, func(addr netip.Addr) bool { return loopback(addr) || public(addr, h.reserved) })
	return h, nil
}

// begin starts the goroutine that follows and sends.
func (h *Hooks) begin(ctx context.Context) {
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	h.running.Go(func() { h.run(ctx) })
}

// Close stops following and sending. A delivery under way is broken off, and sent again by the next process.
func (h *Hooks) Close(ctx context.Context) error {
	h.cancel()
	ended := make(chan struct{})
	go func() {
		h.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("webhook: a delivery did not end: %w", context.Cause(ctx))
	}
}

// run follows the ledger and sends what is due, until the context ends.
func (h *Hooks) run(ctx context.Context) {
	tick := time.NewTicker(h.config.Every)
	defer tick.Stop()
	failing := false
	for {
		err := h.follow(ctx)
		if err == nil {
			err = h.dispatch(ctx)
		}
		if err != nil && !failing && ctx.Err() == nil {
			h.config.Logger.Error("webhooks are not being sent; trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-h.wake:
		}
	}
}

// nudge has run look again at once.
func (h *Hooks) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// wait is how long to wait after so many failed attempts.
func wait(attempts int64) time.Duration {
	d := longestWait
	if doublings := attempts - 1; doublings < 20 {
		d = min(firstWait<<doublings, longestWait)
	}
	return d - rand.N(d/2+1)
}
