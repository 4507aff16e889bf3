package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/postgres"
	"github.com/stoaproject/stoa/store/sqlite"
)

const (
	embeddedFile = "stoa.db"  // the database in a data directory
	elsewhere    = "database" // file in a data directory whose database is on a server: says where
)

// openDB opens the database of a data directory: the file in it, or the PostgreSQL that url names. Either way this
// process owns the directory, which also holds the keys, the artifacts and the ledger's anchor, until release, which
// comes after closing the database. A directory stays with the kind of database that it began with.
func openDB(ctx context.Context, dir, url string, lg *slog.Logger) (db *store.DB, release func() error, err error) {
	if err := sameKind(dir, url); err != nil {
		return nil, nil, err
	}
	if url == "" {
		if db, err = sqlite.Open(ctx, dir, lg); err != nil {
			return nil, nil, openRefusal(dir, err)
		}
		return db, func() error { return nil }, nil
	}
	lock, err := store.LockDir(dir)
	if err != nil {
		return nil, nil, openRefusal(dir, err)
	}
	if db, err = postgres.Open(ctx, url, lg); err != nil {
		return nil, nil, errors.Join(databaseRefusal(url, err), lock.Close())
	}
	where := []byte(postgres.Describe(url) + "\n")
	if err := os.WriteFile(filepath.Join(dir, elsewhere), where, 0o600); err != nil {
		return nil, nil, errors.Join(openRefusal(dir, store.FromOS(err)), db.Close(), lock.Close())
	}
	return db, lock.Close, nil
}

// sameKind refuses a directory whose database is of the other kind: it would look empty, and its ledger tampered with.
func sameKind(dir, url string) error {
	other, hint := embeddedFile, "leave out --db and STOA_DB, or give another --data for the database on a server"
	if url == "" {
		other, hint = elsewhere, "name it with --db or STOA_DB, or give another --data for an embedded one"
	}
	found, err := os.ReadFile(filepath.Join(dir, other))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return openRefusal(dir, store.FromOS(err))
	case url != "":
		return &stoa.Refusal{
			Reason: stoa.ReasonConflict, Message: "the data directory " + dir + " has an embedded database already", Hint: hint,
		}
	}
	return &stoa.Refusal{
		Reason:  stoa.ReasonConflict,
		Message: fmt.Sprintf("the database of the data directory %s is elsewhere: %.200s", dir, firstLine(found)), Hint: hint,
	}
}

func firstLine(text []byte) string {
	for i, c := range text {
		if c == '\n' {
			return string(text[:i])
		}
	}
	return string(text)
}

// databaseRefusal turns a failure to open a database on a server into what to do about it.
func databaseRefusal(url string, err error) error {
	reason, found := store.Reason(err)
	if !found {
		return fmt.Errorf("opening the database: %w", err)
	}
	hints := map[stoa.Reason]string{
		stoa.ReasonStorageLocked:      "stop the other process, or give this one a schema (search_path) of its own",
		stoa.ReasonStorageReadOnly:    "the user needs the right to make tables in the schema, on a server that is no standby",
		stoa.ReasonStorageFull:        "make room on the disk of the database server",
		stoa.ReasonStorageUnavailable: "see that the server runs, and that --db or STOA_DB names it",
	}
	return &stoa.Refusal{
		Reason: reason, Message: "cannot open the database: " + postgres.Describe(url), Hint: hints[reason], Err: err,
	}
}

// VerifyLedger verifies the ledger of a data directory that no process is running on. url names its database where that
// is on a server, and is empty otherwise.
func VerifyLedger(ctx context.Context, dir, url string) (AuditView, error) {
	mark := embeddedFile
	if url != "" {
		mark = elsewhere
	}
	if _, err := os.Stat(filepath.Join(dir, mark)); err != nil && sameKind(dir, url) == nil {
		return AuditView{}, &stoa.Refusal{
			Reason: stoa.ReasonNotFound, Message: dir + " is not a data directory",
			Hint: "give the directory of stoa up --data", Err: err,
		}
	}
	db, release, err := openDB(ctx, dir, url, slog.New(slog.DiscardHandler))
	if err != nil {
		return AuditView{}, err
	}
	report, err := ledger.Verify(ctx, db, ledger.WithAnchor(filepath.Join(dir, ledger.AnchorFile)))
	return auditView(report), errors.Join(err, db.Close(), release())
}
