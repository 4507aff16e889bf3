// Package store is the cellar of the house: the one SQL database and the one blob store that every room keeps its
// durable things in.
//
// A [DB] serialises writes. [DB.Write] runs one transaction at a time, and when it returns nil the transaction is on
// the disk: a reply that follows it is never taken back by a crash. [DB.Read] runs on its own connections and sees a
// snapshot, so that readers neither wait for the writer nor hold it up. Writes are not batched behind the caller's
// back: a transaction costs one fsync, and whoever has many small records writes them in one transaction.
//
// A room owns its tables. It names them after itself, keeps numbered migrations in its own embedded directory, and
// applies them with [DB.Migrate]; no room reads the tables of another. The SQL is the subset that SQLite and PostgreSQL
// share: '?' placeholders, ON CONFLICT, RETURNING, BIGINT microseconds for times, TEXT for JSON.
//
// [Blobs] holds immutable bytes by their digest, "sha256:" and 64 hexadecimal digits. A reader gets either the bytes
// that the digest names or [ErrCorrupt].
//
// The drivers live in store/sqlite and store/blob, and the suites that every driver passes in store/storetest. A driver
// maps what the operating system or the engine reports to the errors of this package; see [Reason] for what a client is
// told.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
)

// An Engine is what a driver hands to [New].
type Engine struct {
	Name     string            // dialect, as the migrations know it: "sqlite3"
	Writer   *sql.DB           // pool of exactly one connection; a commit on it is durable
	Reader   *sql.DB           // pool for reading; may be the same as Writer
	Classify func(error) error // wraps an error of the engine with the error of this package that it means

	// Relax lets commits on Writer return before they are on the disk, and with false has them wait again. They must
	// stay in order: the next commit that waits makes those before it durable too. Nil when commits always wait.
	Relax func(ctx context.Context, on bool) error

	Release func() error // releases what the driver holds besides the pools, after they are closed; may be nil
}

// A DB is a database with one writer and many readers. It is safe for concurrent use.
type DB struct {
	engine Engine
	logger *slog.Logger
	turn   chan struct{} // holds one token; whoever has it may write
}

// New makes a DB over the pools of a driver, and owns them from then on.
func New(engine Engine, logger *slog.Logger) *DB {
	db := &DB{engine: engine, logger: logger, turn: make(chan struct{}, 1)}
	db.turn <- struct{}{}
	return db
}

// Write runs fn in a transaction and commits it durably, or rolls it back when fn returns an error or panics, or ctx
// ends first. Only one Write runs at a time; the others wait for it or for their ctx. The functions given to
// [Tx.OnCommit] run after the commit and before the next Write begins.
//
// fn must not call Write, Read or Migrate of the same DB, which would wait for itself, and must not keep its Tx.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("store: waiting to write: %w", context.Cause(ctx))
	case <-db.turn:
	}
	defer func() { db.turn <- struct{}{} }()

	tx, err := db.run(ctx, db.engine.Writer, nil, fn)
	if err != nil {
		return err
	}
	for _, committed := range tx.committed {
		committed()
	}
	return nil
}

// Read runs fn in a transaction that sees one snapshot of the database and cannot change it. fn must not call Write,
// Read or Migrate of the same DB, and must not keep its Tx.
func (db *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	_, err := db.run(ctx, db.engine.Reader, &sql.TxOptions{ReadOnly: true}, fn)
	return err
}

// run is one transaction on pool.
func (db *DB) run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) (*Tx, error) {
	begun, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("store: begin: %w", db.classify(err))
	}
	tx := &Tx{tx: begun, classify: db.classify, readOnly: opts != nil && opts.ReadOnly}
	finished := false
	defer func() {
		if !finished {
			// The error or the panic under way is the one to report; a rollback can only fail by finding that the
			// engine has rolled back already.
			_ = begun.Rollback()
		}
	}()
	if err := fn(tx); err != nil {
		return nil, db.classify(err)
	}
	finished = true
	if err := begun.Commit(); err != nil {
		return nil, fmt.Errorf("store: commit: %w", db.classify(err))
	}
	return tx, nil
}

// classify wraps err with the error of this package that it means, once.
func (db *DB) classify(err error) error {
	for _, known := range []error{ErrNotFound, ErrFull, ErrReadOnly, ErrLocked, ErrCorrupt} {
		if errors.Is(err, known) {
			return err
		}
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err == nil || db.engine.Classify == nil {
		return err
	}
	return db.engine.Classify(err)
}

// Close waits for the transactions under way, closes the pools and lets go of the data directory. Closing again does
// nothing.
func (db *DB) Close() error {
	<-db.turn
	defer func() { db.turn <- struct{}{} }()
	errs := []error{db.engine.Reader.Close()}
	if db.engine.Writer != db.engine.Reader {
		errs = append(errs, db.engine.Writer.Close())
	}
	if release := db.engine.Release; release != nil {
		db.engine.Release = nil
		errs = append(errs, release())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// A Tx is a transaction, valid until the function that received it returns. It is not safe for concurrent use.
type Tx struct {
	tx        *sql.Tx
	classify  func(error) error
	readOnly  bool
	committed []func()
}

// Exec runs a statement that returns no rows.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if tx.readOnly {
		return nil, errReadTx
	}
	result, err := tx.tx.ExecContext(ctx, query, args...)
	return result, tx.classify(err)
}

// Query runs a statement that returns rows. The caller closes them and asks for their Err.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := tx.tx.QueryContext(ctx, query, args...)
	return rows, tx.classify(err)
}

// QueryRow runs a statement that returns at most one row; its Scan gives [sql.ErrNoRows] when there is none.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return tx.tx.QueryRowContext(ctx, query, args...)
}

// OnCommit has fn run once the transaction is durable, in the order of the commits: what fn publishes never runs ahead
// of, or out of step with, the database. fn must be quick, must not fail and must not call Write. In a Read it runs
// never.
func (tx *Tx) OnCommit(fn func()) { tx.committed = append(tx.committed, fn) }
