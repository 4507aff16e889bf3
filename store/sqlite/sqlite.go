// Package sqlite keeps the database of the house in one SQLite file, through a driver without cgo.
//
// The file is in write-ahead-log mode. The writer is one connection with synchronous=FULL, so that a commit has reached
// the disk when it returns, and it begins its transactions IMMEDIATE, so that a transaction never fails halfway for
// want of the write lock. The readers are a pool of their own and see snapshots.
//
// One process owns a data directory: [Open] takes it with [store.LockDir], whose lock the kernel releases however the
// process ends.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/stoaproject/stoa/store"
)

const (
	fileName = "stoa.db"

	// nearlyFull is how little free space, in bytes, makes an input/output error count as a full disk. SQLite reports
	// a full disk as such when it writes a page, but not when it grows the index of the write-ahead log.
	nearlyFull = 64 << 10
)

// Open opens dir/stoa.db, making the directory (mode 0700) and the file when they do not exist, and owns the directory
// until the DB is closed. The error wraps [store.ErrLocked] and says the process id of the owner when another process
// has it, [store.ErrReadOnly] when it cannot be written, [store.ErrFull] or [store.ErrCorrupt].
func Open(ctx context.Context, dir string, logger *slog.Logger) (*store.DB, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	lock, err := store.LockDir(absolute)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", dir, err)
	}
	engine := store.Engine{
		Name:     "sqlite3",
		Classify: func(err error) error { return classify(absolute, err) },
		Release:  lock.Close,
	}
	if err := openPools(ctx, &engine, filepath.Join(absolute, fileName)); err != nil {
		err = engine.Classify(err)
		return nil, fmt.Errorf("sqlite: open %s: %w", dir, errors.Join(err, lock.Close()))
	}
	return store.New(engine, logger), nil
}

// Memory opens a database that is gone when it is closed. Its writer and its readers share one connection, so that they
// wait for one another.
func Memory(ctx context.Context, logger *slog.Logger) (*store.DB, error) {
	pool, err := openPool(ctx, "file::memory:?"+settings(
		"_txlock", "immediate", "_foreign_keys", "on", "_dqs", "0"), 1)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open in memory: %w", err)
	}
	return store.New(store.Engine{
		Name: "sqlite3", Writer: pool, Reader: pool,
		Classify: func(err error) error { return classify("", err) },
	}, logger), nil
}

// openPools opens the writer, which makes the file and sets its journal mode, and then the readers.
func openPools(ctx context.Context, engine *store.Engine, path string) error {
	name := (&url.URL{Scheme: "file", Path: path}).String() + "?"
	writer, err := openPool(ctx, name+settings("_txlock", "immediate", "_journal_mode", "WAL", "_synchronous", "FULL",
		"_busy_timeout", "5000", "_foreign_keys", "on", "_dqs", "0"), 1)
	if err != nil {
		return err
	}
	reader, err := openPool(ctx, name+settings("_query_only", "on", "_busy_timeout", "5000", "_dqs", "0"),
		max(4, runtime.GOMAXPROCS(0)))
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	engine.Writer, engine.Reader = writer, reader
	engine.Relax = func(ctx context.Context, on bool) error { return relax(ctx, writer, on) }
	return nil
}

// relax sets how the writer's one connection commits. With NORMAL the write-ahead log is written and not synced, and
// the sync of a later FULL commit covers what was written before.
func relax(ctx context.Context, writer *sql.DB, on bool) error {
	statement := "PRAGMA synchronous = FULL"
	if on {
		statement = "PRAGMA synchronous = NORMAL"
	}
	_, err := writer.ExecContext(ctx, statement)
	return err
}

// openPool opens a pool of at most n connections, which are kept, and reads the file once.
func openPool(ctx context.Context, name string, n int) (*sql.DB, error) {
	pool, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(n)
	pool.SetMaxIdleConns(n)
	var tables int
	if err := pool.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return pool, nil
}

// settings encodes pairs of names and values for a data source name.
func settings(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

// classify wraps an error of SQLite with the error of the store that it means. dir is the data directory, or empty.
func classify(dir string, err error) error {
	var reported *driver.Error
	if !errors.As(err, &reported) {
		return store.FromOS(err)
	}
	meaning := error(nil)
	switch reported.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		meaning = store.ErrFull
	case sqlite3.SQLITE_READONLY:
		meaning = store.ErrReadOnly
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		meaning = store.ErrCorrupt
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		meaning = store.ErrLocked
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		meaning = diskState(dir)
	}
	if meaning == nil {
		return err
	}
	return fmt.Errorf("%w: %w", meaning, err)
}

// diskState says what is wrong with the file system that holds dir, or nil when nothing can be seen to be.
func diskState(dir string) error {
	if dir == "" {
		return nil
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return nil
	}
	switch {
	case unix.Access(dir, unix.W_OK) != nil:
		return store.ErrReadOnly
	case int64(stat.Bavail)*int64(stat.Bsize) < nearlyFull:
		return store.ErrFull
	}
	return nil
}
