package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stoaproject/stoa/store"
)

// lockSpace is the upper half of the lock's key ("stoa" in ASCII); the lower is the number of the schema.
const lockSpace = 0x73746f61

// The server notices the end of a connection a moment after it ended, so that an owner who has just gone still looks
// like one: the lock is asked for again for a while.
const (
	lockWait  = 2 * time.Second
	lockPause = 25 * time.Millisecond
)

// An ownership makes each connection of the writer take the lock.
type ownership struct {
	name   string // of this process at the server
	logger *slog.Logger
}

// take readies a new connection: it takes the lock, or closes the connection and wraps [store.ErrLocked]. The lock ends
// with the connection.
func (o *ownership) take(ctx context.Context, conn *pgx.Conn) error {
	err := o.lock(ctx, conn)
	if err == nil {
		_, err = conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
			WHERE current_setting('synchronous_commit') = 'off'`)
	}
	if err != nil {
		_ = conn.Close(ctx) // the driver leaves it open; the error at hand is the one to report
	}
	return err
}

func (o *ownership) lock(ctx context.Context, conn *pgx.Conn) error {
	for deadline := time.Now().Add(lockWait); ; {
		var taken bool
		err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1::bigint << 32
			| (SELECT oid FROM pg_namespace WHERE nspname = current_schema())::bigint)`, int64(lockSpace)).Scan(&taken)
		if err != nil || taken {
			return err
		}
		if err := o.endForerunner(ctx, conn); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w (%s)", store.ErrLocked, o.holder(ctx, conn))
		}
		pause := time.NewTimer(lockPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		case <-pause.C:
		}
	}
}

// holding finds the connection that has the lock.
const holding = `FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = $1::bigint::oid
	AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND l.objid = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())`

// endForerunner ends an earlier connection of this very process that the server takes for alive: this process has lost
// it, so that nobody is at its other end. The asking connection's own is not meant.
const endForerunner = "SELECT pg_terminate_backend(a.pid) " + holding +
	" AND a.application_name = $2 AND a.pid <> pg_backend_pid()"

func (o *ownership) endForerunner(ctx context.Context, conn *pgx.Conn) error {
	tag, err := conn.Exec(ctx, endForerunner, int64(lockSpace), o.name)
	if err == nil && tag.RowsAffected() > 0 {
		o.logger.WarnContext(ctx, "ended this process's earlier connection to the database, which still had the lock")
	}
	return err
}

// holder says who has the lock, as far as the server tells.
func (o *ownership) holder(ctx context.Context, conn *pgx.Conn) string {
	var name, address string
	var pid int
	err := conn.QueryRow(ctx, "SELECT a.application_name, COALESCE(host(a.client_addr), 'the same machine'), a.pid "+
		holding, int64(lockSpace)).Scan(&name, &address, &pid)
	if err != nil {
		return "the server does not tell which"
	}
	return fmt.Sprintf("%q, from %s, process %d of the database server, holds its advisory lock", name, address, pid)
}
