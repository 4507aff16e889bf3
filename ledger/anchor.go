package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// An anchor is the file that says where the chain ended after the last commit that got so far.
type anchor struct {
	path   string
	logger *slog.Logger
	intact bool // the chain contains what the file says; otherwise the file stays as it is, as evidence
}

// openAnchor reads the file and brings it up to date with a chain that contains it. A new ledger gets a new file.
func openAnchor(ctx context.Context, db *store.DB, logger *slog.Logger, path string) (*anchor, error) {
	a := &anchor{path: path, logger: logger}
	said, err := readAnchor(path)
	if err != nil {
		return nil, err
	}
	var last head
	var trouble string
	err = db.Read(ctx, func(tx *store.Tx) (err error) {
		if last, err = readHead(ctx, tx); err != nil {
			return err
		}
		trouble, err = said.check(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if said.missing && last.Seq == 0 {
		trouble = ""
	}
	if trouble != "" {
		logger.ErrorContext(ctx, "the ledger does not fit its anchor: it may have been tampered with, or restored "+
			"without its anchor; verify it, and reanchor it if you know why", "anchor", path, "trouble", trouble)
		return a, nil
	}
	if err := writeHead(path, last); err != nil {
		return nil, fmt.Errorf("write the anchor: %w", store.FromOS(err))
	}
	a.intact = true
	return a, nil
}

// advance writes the new head. Failing to does no harm but to the next advance's work: the chain may extend beyond the
// file, and what is committed stays committed.
func (a *anchor) advance(to head) {
	if !a.intact {
		return
	}
	if err := writeHead(a.path, to); err != nil {
		a.logger.Warn("the ledger's anchor lags behind", "anchor", a.path, "seq", to.Seq, "error", err)
	}
}

// Reanchor accepts the chain as it is in place of what the anchor says, for somebody who knows why they differ: mostly
// because an older database was restored on purpose. What the anchor said is kept in a note, so that the chain tells of
// it. Without [WithAnchor] the error is a *[stoa.Refusal] (conflict), as it is when the anchor and the chain agree.
func (l *Ledger) Reanchor(ctx context.Context, by, why string) error {
	return l.db.Write(ctx, func(tx *store.Tx) error {
		if l.anchor == nil || l.anchor.intact {
			return &stoa.Refusal{Reason: stoa.ReasonConflict, Message: "the ledger has no anchor that it differs from"}
		}
		said, err := os.ReadFile(l.anchor.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("ledger: read the anchor: %w", err)
		}
		tx.OnCommit(func() { l.anchor.intact = true }) // before the note's own hook writes the file
		return l.Note(ctx, tx, Act{
			Actor: by, What: "ledger.reanchor", Subject: "ledger", Why: why, Data: map[string]string{"said": string(said)},
		})
	})
}

// An anchored is what an anchor file says. It must be read before the snapshot of the chain that it is compared with: the
// chain may be longer than the file says, never shorter.
type anchored struct {
	head    head
	missing bool  // there is no file
	damaged error // the file says nothing that can be read
}

func readAnchor(path string) (anchored, error) {
	encoded, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return anchored{missing: true}, nil
	}
	if err != nil {
		return anchored{}, fmt.Errorf("read the anchor: %w", err)
	}
	var said anchored
	said.damaged = json.Unmarshal(encoded, &said.head)
	return said, nil
}

// check says what is wrong between the file and the chain, or "".
func (said anchored) check(ctx context.Context, tx *store.Tx) (string, error) {
	want := said.head
	switch {
	case said.missing:
		return "the anchor file is missing", nil
	case said.damaged != nil:
		return "the anchor file is damaged: " + said.damaged.Error(), nil
	case want == (head{}):
		return "", nil
	}
	var hash string
	err := tx.QueryRow(ctx, "SELECT hash FROM ledger_event WHERE seq = ?", want.Seq).Scan(&hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Sprintf("the anchor names event %d, which is missing", want.Seq), nil
	case err != nil:
		return "", fmt.Errorf("compare the anchor: %w", err)
	case hash != want.Hash:
		return fmt.Sprintf("the anchor gives event %d another hash", want.Seq), nil
	}
	return "", nil
}

// writeHead replaces the file at once: whoever reads it finds the old head or the new one.
func writeHead(path string, h head) error {
	encoded, err := json.Marshal(h)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(encoded, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
