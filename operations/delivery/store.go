package delivery

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Store keeps rollouts by the id of their ledger entry. A model has at most one that is not over.
type Store struct{ db *store.DB }

// NewStore brings the tables up to date.
func NewStore(ctx context.Context, db *store.DB) (*Store, error) {
	if err := db.Migrate(ctx, "delivery", migrations); err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	return &Store{db: db}, nil
}

// SaveTx writes the state of a rollout. It refuses a second rollout of a model while one is under way.
func (s *Store) SaveTx(ctx context.Context, tx *store.Tx, r *Rollout) error {
	if !r.Phase.Final() {
		var other int64
		err := tx.QueryRow(ctx, `SELECT id FROM delivery_rollouts WHERE model = ? AND over = 0 AND id <> ?`, r.Model, r.ID).
			Scan(&other)
		if err == nil {
			return &stoa.Refusal{
				Reason:  stoa.ReasonConflict,
				Message: fmt.Sprintf("rollout %d of %s is under way", other, r.Model),
				Hint:    "wait until it ends, or withdraw it",
			}
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look for another rollout of %s: %w", r.Model, err)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode rollout %d: %w", r.ID, err)
	}
	over := 0
	if r.Phase.Final() {
		over = 1
	}
	_, err = tx.Exec(ctx, `INSERT INTO delivery_rollouts (id, model, over, json) VALUES (?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET over = excluded.over, json = excluded.json`, r.ID, r.Model, over, string(text))
	if err != nil {
		return fmt.Errorf("write rollout %d: %w", r.ID, err)
	}
	return nil
}

// LoadTx returns the rollout with an id, or an error that wraps [store.ErrNotFound].
func (s *Store) LoadTx(ctx context.Context, tx *store.Tx, id int64) (*Rollout, error) {
	return one(tx.QueryRow(ctx, `SELECT json FROM delivery_rollouts WHERE id = ?`, id), fmt.Sprintf("rollout %d", id))
}

// ActiveTx returns the rollout of a model that is not over, or an error that wraps [store.ErrNotFound].
func (s *Store) ActiveTx(ctx context.Context, tx *store.Tx, model string) (*Rollout, error) {
	return one(tx.QueryRow(ctx, `SELECT json FROM delivery_rollouts WHERE model = ? AND over = 0`, model),
		"rollout under way of "+model)
}

// Load is [Store.LoadTx] in a transaction of its own.
func (s *Store) Load(ctx context.Context, id int64) (r *Rollout, err error) {
	err = s.db.Read(ctx, func(tx *store.Tx) error {
		r, err = s.LoadTx(ctx, tx, id)
		return err
	})
	return r, err
}

// Active is [Store.ActiveTx] in a transaction of its own.
func (s *Store) Active(ctx context.Context, model string) (r *Rollout, err error) {
	err = s.db.Read(ctx, func(tx *store.Tx) error {
		r, err = s.ActiveTx(ctx, tx, model)
		return err
	})
	return r, err
}

// List returns the newest rollouts of a model, or of all models when it is empty, newest first.
func (s *Store) List(ctx context.Context, model string, limit int) ([]*Rollout, error) {
	var found []*Rollout
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		found = nil
		rows, err := tx.Query(ctx, `SELECT json FROM delivery_rollouts WHERE ? = '' OR model = ? ORDER BY id DESC LIMIT ?`,
			model, model, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			r := new(Rollout)
			if err := json.Unmarshal([]byte(text), r); err != nil {
				return fmt.Errorf("stored rollout is not readable: %w", err)
			}
			found = append(found, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("delivery: list rollouts: %w", err)
	}
	return found, nil
}

func one(row *sql.Row, what string) (*Rollout, error) {
	var text string
	err := row.Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	r := new(Rollout)
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("%s is not readable: %w", what, err)
	}
	return r, nil
}
