// Package postgres keeps the database of the house in PostgreSQL, 13 or newer.
//
// One process at a time owns the tables. The writer is one connection, and it holds an advisory lock for as long as it
// lives; a writer that comes back after its connection broke takes the lock again before it writes. So whoever writes
// holds the lock, transactions are serial without the conflicts of SERIALIZABLE, and the chain of the ledger and what
// the rooms keep in memory stay true. A second process gets [store.ErrLocked] with the address of the first. The lock
// belongs to a schema: several of these houses may share a database, each in a schema of its own (search_path).
//
// The readers are a pool of their own, and a transaction of theirs is REPEATABLE READ: one snapshot.
//
// A commit waits for the disk of the server (synchronous_commit is put on where it is off). When its answer is lost the
// store asks for it by the transaction's id ([store.Remote]).
//
// The statements of the house are in the subset that SQLite and PostgreSQL share. This package numbers their
// placeholders, and gives the columns of a migration PostgreSQL's types; see rewrite.go.
package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/stoaproject/stoa/store"
)

const (
	readers        = 8
	connectTimeout = 5 * time.Second  // when the URL does not say
	cancelTimeout  = 5 * time.Second  // for a statement to end after the server was told to cancel it
	idleTimeout    = 10 * time.Second // without a byte, before the other side is asked whether it lives
)

// Open opens the database that url names (postgres://user@host:port/database, or PostgreSQL's words key=value; the
// password may come from PGPASSWORD or a passfile) and owns its tables until the DB is closed. The error wraps
// [store.ErrLocked] when another process has them, or [store.ErrUnavailable] when the server cannot be reached; no
// error shows the password.
func Open(ctx context.Context, url string, logger *slog.Logger) (*store.DB, error) {
	config, err := configure(url)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	owner := &ownership{name: config.RuntimeParams["application_name"], logger: logger}
	writer := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(owner.take))
	writer.SetMaxOpenConns(1)
	writer.SetMaxIdleConns(1)
	reader := stdlib.OpenDB(*config)
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	if err := check(ctx, writer); err != nil {
		return nil, fmt.Errorf("postgres: open %s: %w", Describe(url),
			errors.Join(classify(err), reader.Close(), writer.Close()))
	}
	return store.New(store.Engine{
		Name: "postgres", Writer: writer, Reader: reader, Classify: classify,
		Snapshot: sql.LevelRepeatableRead, Rewrite: number, Migrations: migrations,
		Remote: &store.Remote{
			Mark: mark,
			Committed: func(ctx context.Context, mark int64) (bool, error) {
				return owner.committed(ctx, reader, mark)
			},
		},
	}, logger), nil
}

// configure reads the URL and says how every connection is made.
func configure(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err // it hides the password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: idleTimeout, Interval: idleTimeout / 2, Count: 3,
	}}
	config.DialFunc = dialer.DialContext
	config.RuntimeParams["application_name"] = instance()
	config.RuntimeParams["tcp_keepalives_idle"] = "10" // so that the server too notices, and gives up the lock
	config.RuntimeParams["tcp_keepalives_interval"] = "5"
	config.RuntimeParams["tcp_keepalives_count"] = "3"
	// A statement whose context ends is cancelled at the server; closing the connection would give up the lock.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelTimeout}
	}
	return config, nil
}

// instance names this process at the server, and differs between any two opened databases.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var nonce [4]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return fmt.Sprintf("stoa %d@%.20s %s", os.Getpid(), host, hex.EncodeToString(nonce[:]))
}

// Describe gives what may be shown of a URL: host, port and database.
func Describe(url string) string {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return "PostgreSQL"
	}
	where := fmt.Sprintf("PostgreSQL at %s:%d", config.Host, config.Port)
	if strings.HasPrefix(config.Host, "/") {
		where = "PostgreSQL in " + config.Host
	}
	return where + ", database " + config.Database
}

// check makes the first connection and looks at what is there.
func check(ctx context.Context, writer *sql.DB) error {
	var version int
	var schema sql.NullString
	var encoding string
	err := writer.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_schema(),
		current_setting('server_encoding')`).Scan(&version, &schema, &encoding)
	switch {
	case err != nil:
		return err
	case version < 130000:
		return fmt.Errorf("the server is PostgreSQL %d; 13 is the oldest that will do", version/10000)
	case !schema.Valid:
		return errors.New("the schemas of its search_path do not exist: create one, or name another")
	case encoding != "UTF8":
		return fmt.Errorf("the database has the encoding %s: create one with UTF8", encoding)
	}
	return nil
}

// mark gives the id of a transaction that has changed something, and 0 for another.
func mark(ctx context.Context, tx *sql.Tx) (int64, error) {
	var id sql.NullInt64
	err := tx.QueryRowContext(ctx, "SELECT txid_current_if_assigned()").Scan(&id)
	return id.Int64, err
}

// committed says what became of a transaction of a connection that is lost. Where the server has not noticed the loss,
// the transaction is still under way, and is ended.
func (o *ownership) committed(ctx context.Context, reader *sql.DB, mark int64) (bool, error) {
	var status sql.NullString
	if err := reader.QueryRowContext(ctx, "SELECT txid_status($1)", mark).Scan(&status); err != nil {
		return false, err
	}
	switch status.String {
	case "committed":
		return true, nil
	case "aborted":
		return false, nil
	case "in progress":
		_, err := reader.ExecContext(ctx, endForerunner, int64(lockSpace), o.name)
		return false, errors.Join(fmt.Errorf("%w (the transaction is still under way)", store.ErrUnavailable), err)
	}
	return false, fmt.Errorf("the server does not know transaction %d any more", mark)
}
