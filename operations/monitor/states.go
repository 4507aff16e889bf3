package monitor

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stoaproject/stoa/store"
)

// States keeps small named JSON documents: the cursor over the judgements and the state of whatever is fed from them.
// Both are written in one transaction of the caller, so that a judgement is folded exactly once whatever crashes.
type States struct{ db *store.DB }

// States returns the monitor's named states.
func (m *Monitor) States() *States { return &States{db: m.config.DB} }

// GetTx reads the state with a name into a value. It reports false, and leaves the value alone, when there is none.
func (s *States) GetTx(ctx context.Context, tx *store.Tx, name string, into any) (bool, error) {
	var text string
	err := tx.QueryRow(ctx, `SELECT json FROM monitor_states WHERE name = ?`, name).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read state %q: %w", name, err)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return false, fmt.Errorf("state %q is not readable: %w", name, err)
	}
	return true, nil
}

// PutTx writes the state with a name.
func (s *States) PutTx(ctx context.Context, tx *store.Tx, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode state %q: %w", name, err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO monitor_states (name, json) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET json = excluded.json`, name, string(text))
	if err != nil {
		return fmt.Errorf("write state %q: %w", name, err)
	}
	return nil
}

// DeleteTx removes the state with a name, if there is one.
func (s *States) DeleteTx(ctx context.Context, tx *store.Tx, name string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM monitor_states WHERE name = ?`, name); err != nil {
		return fmt.Errorf("delete state %q: %w", name, err)
	}
	return nil
}

// Get is [States.GetTx] in a transaction of its own.
func (s *States) Get(ctx context.Context, name string, into any) (found bool, err error) {
	err = s.db.Read(ctx, func(tx *store.Tx) error {
		found, err = s.GetTx(ctx, tx, name, into)
		return err
	})
	return found, err
}
