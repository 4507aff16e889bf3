package app

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/postgres"
	"github.com/stoaproject/stoa/store/sqlite"
)

const (
	embeddedFile = "stoa.db"  // the database in a data directory
	elsewhere    = "database" // file in a data directory whose database is on a server: says where, and which
)

//go:embed migrations/*.sql
var migrations embed.FS

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
	if err := bind(ctx, db, dir, url); err != nil {
		return nil, nil, errors.Join(err, db.Close(), lock.Close())
	}
	return db, lock.Close, nil
}

// bind notes in the data directory which database it belongs to, and refuses any other: to that one the artifacts in the
// directory would be nobody's, and cleared up.
func bind(ctx context.Context, db *store.DB, dir, url string) error {
	if err := db.Migrate(ctx, "app", migrations); err != nil {
		return databaseRefusal(url, err)
	}
	var name string
	err := db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO app_identity (one, name) VALUES (1, ?) ON CONFLICT (one) DO NOTHING",
			rand.Text())
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT name FROM app_identity WHERE one = 1").Scan(&name)
	})
	if err != nil {
		return databaseRefusal(url, err)
	}
	path := filepath.Join(dir, elsewhere)
	noted, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return openRefusal(dir, store.FromOS(err))
	}
	where, known, _ := strings.Cut(strings.TrimSpace(string(noted)), "\n")
	if known != "" && known != name {
		return &stoa.Refusal{
			Reason:  stoa.ReasonConflict,
			Message: fmt.Sprintf("the data directory %s belongs to another database: %.200s", dir, where),
			Hint:    "name that one with --db or STOA_DB, or give this one a --data of its own",
		}
	}
	note := postgres.Describe(url) + "\n" + name + "\n"
	if string(noted) == note {
		return nil
	}
	if err := os.WriteFile(path, []byte(note), 0o600); err != nil {
		return openRefusal(dir, store.FromOS(err))
	}
	return nil
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
	where, _, _ := strings.Cut(string(found), "\n")
	return &stoa.Refusal{
		Reason:  stoa.ReasonConflict,
		Message: fmt.Sprintf("the database of the data directory %s is elsewhere: %.200s", dir, where), Hint: hint,
	}
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
