package access

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

const columns = "id, name, owner, created_at, created_by, revoked_at, revoked_by"

// List returns all keys, revoked ones too, in the order in which they were made.
func (a *Access) List(ctx context.Context) ([]Key, error) {
	var keys []Key
	err := a.db.Read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, "SELECT "+columns+" FROM access_key ORDER BY created_at, id")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			key, err := scan(rows)
			if err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("access: list keys: %w", err)
	}
	return keys, nil
}

// find returns the one key that the condition is true of.
func find(ctx context.Context, tx *store.Tx, where string, args ...any) (key Key, found bool, err error) {
	key, err = scan(tx.QueryRow(ctx, "SELECT "+columns+" FROM access_key WHERE "+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, false, nil
	}
	return key, err == nil, err
}

func scan(row interface{ Scan(...any) error }) (Key, error) {
	var key Key
	var owner, created, revoked int64
	err := row.Scan(&key.ID, &key.Name, &owner, &created, &key.CreatedBy, &revoked, &key.RevokedBy)
	if err != nil {
		return Key{}, err
	}
	key.Owner = owner == 1
	key.CreatedAt = time.UnixMicro(created).UTC()
	if revoked != 0 {
		key.RevokedAt = time.UnixMicro(revoked).UTC()
	}
	return key, nil
}

// insert adds a key and its row in the ledger.
func (a *Access) insert(ctx context.Context, tx *store.Tx, c stoa.Caller, hash digest, by stoa.Caller, why string) error {
	owner := 0
	if c.Owner {
		owner = 1
	}
	_, err := tx.Exec(ctx, `INSERT INTO access_key
		(id, name, hash, owner, created_at, created_by, revoked_at, revoked_by) VALUES (?, ?, ?, ?, ?, ?, 0, '')`,
		c.ID, c.Name, hex.EncodeToString(hash[:]), owner, a.now().UnixMicro(), by.Name)
	if err != nil {
		return err
	}
	return a.note(ctx, tx, "key.create", c, by, why)
}

// revoke marks a key as revoked and adds a row to the ledger.
func (a *Access) revoke(ctx context.Context, tx *store.Tx, key Key, by stoa.Caller, why string) error {
	_, err := tx.Exec(ctx, "UPDATE access_key SET revoked_at = ?, revoked_by = ? WHERE id = ?",
		a.now().UnixMicro(), by.Name, key.ID)
	if err != nil {
		return err
	}
	return a.note(ctx, tx, "key.revoke", stoa.Caller{ID: key.ID, Name: key.Name, Owner: key.Owner}, by, why)
}

func (a *Access) note(ctx context.Context, tx *store.Tx, what string, key, by stoa.Caller, why string) error {
	return a.ledger.Note(ctx, tx, ledger.Act{Actor: by.Name, What: what, Subject: key.ID, Why: why, Data: struct {
		Name  string `json:"name"`
		Owner bool   `json:"owner"`
		By    string `json:"by,omitempty"` // id of the actor's own key
	}{key.Name, key.Owner, by.ID}})
}

// publish replaces the index by what the transaction leaves behind, once it is durable.
func (a *Access) publish(ctx context.Context, tx *store.Tx) error {
	rows, err := tx.Query(ctx, "SELECT id, name, owner, hash FROM access_key WHERE revoked_at = 0")
	if err != nil {
		return err
	}
	defer rows.Close()
	next := make(index)
	for rows.Next() {
		var key indexed
		var owner int64
		var text string
		if err := rows.Scan(&key.caller.ID, &key.caller.Name, &owner, &text); err != nil {
			return err
		}
		hash, err := hex.DecodeString(text)
		if err != nil || len(hash) != len(key.hash) {
			return fmt.Errorf("the hash of key %s: %w", key.caller.ID, store.ErrCorrupt)
		}
		key.caller.Owner = owner == 1
		key.hash = digest(hash)
		next[key.hash.prefix()] = append(next[key.hash.prefix()], key)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	tx.OnCommit(func() { a.index.Store(&next) })
	return nil
}
