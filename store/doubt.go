package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How often a database that cannot be reached is asked what became of a commit.
const (
	firstLook   = 50 * time.Millisecond
	longestLook = time.Second
	lookTimeout = 5 * time.Second
)

// A doubt lets those who wait to write know that a commit was not answered, and that they would wait for the database
// to come back.
type doubt struct {
	mu    sync.Mutex
	begun chan struct{} // closed while there is doubt
}

func (d *doubt) waiting() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begun
}

func (d *doubt) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.begun)
}

func (d *doubt) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = make(chan struct{})
}

// settle finds out what became of a commit that failed with cause, for as long as that takes. It returns nil when the
// transaction was committed after all. Whoever calls it holds the turn, so that nothing is written upon a state that
// memory does not know.
func (db *DB) settle(mark int64, cause error) error {
	db.doubt.begin()
	defer db.doubt.end()
	db.logger.Warn("the answer to a commit was lost; asking the database what became of it", "error", cause)
	for pause := firstLook; ; pause = min(2*pause, longestLook) {
		ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
		committed, err := db.engine.Remote.Committed(ctx, mark)
		cancel()
		switch {
		case err == nil && committed:
			db.logger.Info("the commit whose answer was lost has been made")
			return nil
		case err == nil:
			return fmt.Errorf("%w (nothing was written): %w", ErrUnavailable, cause)
		case !errors.Is(db.classify(err), ErrUnavailable):
			return fmt.Errorf("%w (whether this was written is not known): %w", ErrUnavailable, errors.Join(cause, err))
		}
		next := time.NewTimer(pause)
		select {
		case <-db.closed:
			next.Stop()
			return fmt.Errorf("%w (whether this was written is not known): %w", ErrUnavailable, cause)
		case <-next.C:
		}
	}
}
