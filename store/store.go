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
// share: '?' placeholders, ON CONFLICT, RETURNING, BIGINT microseconds for times and 0 or 1 for truth, TEXT for JSON,
// DOUBLE PRECISION, BLOB. Text compares and sorts by its bytes. Within that subset:
//
//   - an error ends its transaction: a function whose statement has failed returns that error;
//   - the rows of a query are closed before the next statement of the same transaction;
//   - a table numbers its rows itself: no AUTOINCREMENT, no LastInsertId;
//   - a text is UTF-8 without NUL, bytes are a []byte; see [ErrText];
//   - SUM of BIGINT may come as text, which Scan turns into a number; types in migrations are in capitals.
//
// [Blobs] holds immutable bytes by their digest, "sha256:" and 64 hexadecimal digits. A reader gets either the bytes
// that the digest names or [ErrCorrupt].
//
// The drivers live in store/sqlite, store/postgres and store/blob, and the suites that every driver passes in store/storetest. A driver
// maps what the operating system or the engine reports to the errors of this package; see [Reason] for what a client is
// told.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// commitWait is how long a commit may go without an answer before its connection is given up.
const commitWait = 15 * time.Second

// An Engine is what a driver hands to [New].
type Engine struct {
	Name     string            // dialect, as the migrations know it: "sqlite3", "postgres"
	Writer   *sql.DB           // pool of exactly one connection; a commit on it is durable
	Reader   *sql.DB           // pool for reading; may be the same as Writer
	Classify func(error) error // wraps an error of the engine with the error of this package that it means

	// Relax lets commits on Writer return before they are on the disk, and with false has them wait again. They must
	// stay in order: the next commit that waits makes those before it durable too. Nil when commits always wait.
	Relax func(ctx context.Context, on bool) error

	Snapshot   sql.IsolationLevel        // gives a transaction of Reader one snapshot; the default when that does
	Rewrite    func(query string) string // turns a statement of the common subset into the engine's; nil when it is
	Migrations func(files fs.FS) fs.FS   // does the same for a directory of migrations; nil when there is nothing to do

	// Remote is set when the answer to a commit can be lost on its way.
	Remote *Remote

	Release func() error // releases what the driver holds besides the pools, after they are closed; may be nil
}

// A Remote tells what became of a commit that was not answered.
type Remote struct {
	// Mark names the transaction, for Committed; 0 when it has changed nothing.
	Mark func(ctx context.Context, tx *sql.Tx) (int64, error)

	// Committed says whether the transaction of a mark has been committed. The error wraps [ErrUnavailable] when it
	// cannot be known yet.
	Committed func(ctx context.Context, mark int64) (bool, error)
}

// A DB is a database with one writer and many readers. It is safe for concurrent use.
type DB struct {
	engine Engine
	logger *slog.Logger
	turn   chan struct{} // holds one token; whoever has it may write
	closed chan struct{} // closed when Close begins
	close  sync.Once
	doubt  doubt
}

// New makes a DB over the pools of a driver, and owns them from then on.
func New(engine Engine, logger *slog.Logger) *DB {
	db := &DB{engine: engine, logger: logger, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	db.doubt.begun = make(chan struct{})
	db.turn <- struct{}{}
	return db
}

// Write runs fn in a transaction and commits it durably, or rolls it back when fn returns an error or panics, or ctx
// ends first. Only one Write runs at a time; the others wait for it or for their ctx. The functions given to
// [Tx.OnCommit] run after the commit and before the next Write begins.
//
// The result is the truth: when the connection breaks while the database commits, Write waits until the database can be
// asked what became of it, and until then other writes get [ErrUnavailable].
//
// fn must not call Write, Read or Migrate of the same DB, which would wait for itself, and must not keep its Tx.
func (db *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("store: waiting to write: %w", context.Cause(ctx))
	case <-db.doubt.waiting():
		return fmt.Errorf("store: waiting to write: %w", ErrUnavailable)
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
	_, err := db.run(ctx, db.engine.Reader, &sql.TxOptions{ReadOnly: true, Isolation: db.engine.Snapshot}, fn)
	return err
}

// run is one transaction on pool.
func (db *DB) run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(*Tx) error) (*Tx, error) {
	begun, cancel, err := db.begin(ctx, pool, opts)
	if err != nil {
		return nil, fmt.Errorf("store: begin: %w", db.classify(err))
	}
	defer cancel()
	tx := &Tx{
		tx: begun, classify: db.classify, rewrite: db.engine.Rewrite, readOnly: opts != nil && opts.ReadOnly,
	}
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
	if err := db.commit(ctx, tx, cancel); err != nil {
		return nil, fmt.Errorf("store: commit: %w", db.classify(err))
	}
	return tx, nil
}

// begin begins a transaction. One of a remote engine does not end with ctx, because giving up on a commit would leave
// its outcome unknown; its statements do.
func (db *DB) begin(ctx context.Context, pool *sql.DB, opts *sql.TxOptions) (*sql.Tx, context.CancelFunc, error) {
	if db.engine.Remote == nil {
		tx, err := pool.BeginTx(ctx, opts)
		return tx, func() {}, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, context.Cause(ctx)
	}
	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	tx, err := pool.BeginTx(detached, opts)
	if errors.Is(db.classify(err), ErrUnavailable) { // mostly a connection that broke while it was idle
		tx, err = pool.BeginTx(detached, opts)
	}
	if err != nil {
		cancel()
	}
	return tx, cancel, err
}

// commit commits, and gives an error only when nothing was committed, or when the DB is closed before that is known.
func (db *DB) commit(ctx context.Context, tx *Tx, cancel context.CancelFunc) error {
	if db.engine.Remote == nil {
		return tx.tx.Commit()
	}
	mark, err := int64(0), ctx.Err()
	if err != nil {
		err = context.Cause(ctx)
	} else if !tx.readOnly {
		mark, err = db.engine.Remote.Mark(ctx, tx.tx)
	}
	if err != nil {
		_ = tx.tx.Rollback() // the error at hand is the one to report
		return err
	}
	watchdog := time.AfterFunc(commitWait, cancel)
	defer watchdog.Stop()
	err = tx.tx.Commit()
	lost := errors.Is(err, context.Canceled) || errors.Is(db.classify(err), ErrUnavailable)
	if mark == 0 || !lost {
		return err
	}
	return db.settle(mark, err)
}

// classify wraps err with the error of this package that it means, once.
func (db *DB) classify(err error) error {
	for _, one := range known() {
		if errors.Is(err, one) {
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
	db.close.Do(func() { close(db.closed) })
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
	rewrite   func(string) string // nil when there is nothing to do
	readOnly  bool
	committed []func()
}

// Exec runs a statement that returns no rows.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if tx.readOnly {
		return nil, errReadTx
	}
	if err := checkText(args); err != nil {
		return nil, err
	}
	query, args = tx.prepare(query, args)
	result, err := tx.tx.ExecContext(ctx, query, args...)
	return result, tx.classify(err)
}

// Query runs a statement that returns rows. The caller closes them and asks for their Err.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	query, args = tx.prepare(query, args)
	rows, err := tx.tx.QueryContext(ctx, query, args...)
	return rows, tx.classify(err)
}

// QueryRow runs a statement that returns at most one row; its Scan gives [sql.ErrNoRows] when there is none.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	query, args = tx.prepare(query, args)
	return tx.tx.QueryRowContext(ctx, query, args...)
}

// prepare gives a statement and its arguments as the engine takes them: truth is 1 or 0 in the common subset.
func (tx *Tx) prepare(query string, args []any) (string, []any) {
	if tx.rewrite == nil {
		return query, args
	}
	for i, arg := range args {
		if truth, ok := arg.(bool); ok {
			number := int64(0)
			if truth {
				number = 1
			}
			args = slices.Clone(args)
			args[i] = number
		}
	}
	return tx.rewrite(query), args
}

// OnCommit has fn run once the transaction is durable, in the order of the commits: what fn publishes never runs ahead
// of, or out of step with, the database. fn must be quick, must not fail and must not call Write. In a Read it runs
// never.
func (tx *Tx) OnCommit(fn func()) { tx.committed = append(tx.committed, fn) }
