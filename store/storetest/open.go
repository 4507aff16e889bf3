package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/postgres"
	"github.com/stoaproject/stoa/store/sqlite"
)

// PostgresVariable names the environment variable with the URL of a PostgreSQL that tests may make schemas in.
// tools/postgres sets it; without it, tests run on SQLite only.
const PostgresVariable = "STOA_TEST_POSTGRES"

// Open gives a new, empty database that is closed with the test: SQLite in memory, or a schema of its own where the
// environment names a PostgreSQL. The suites of all rooms use it, so that they run on either.
func Open(t testing.TB) *store.DB {
	t.Helper()
	var db *store.DB
	var err error
	if os.Getenv(PostgresVariable) == "" {
		db, err = sqlite.Memory(t.Context(), slog.New(slog.DiscardHandler))
	} else {
		db, err = OpenAt(t.Context(), Postgres(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Place gives where [OpenAt] opens a database that outlives being closed, and the process.
func Place(t testing.TB) string {
	t.Helper()
	if os.Getenv(PostgresVariable) != "" {
		return Postgres(t)
	}
	return t.TempDir()
}

// OpenAt opens the database at a place: a directory for SQLite, or a URL of PostgreSQL.
func OpenAt(ctx context.Context, place string) (*store.DB, error) {
	if strings.HasPrefix(place, "postgres://") {
		return postgres.Open(ctx, place, slog.New(slog.DiscardHandler))
	}
	return sqlite.Open(ctx, place, slog.New(slog.DiscardHandler))
}

// Postgres gives the URL of a new, empty schema that goes with the test, or skips the test when the environment names
// no PostgreSQL.
func Postgres(t testing.TB) string {
	t.Helper()
	server := os.Getenv(PostgresVariable)
	if server == "" {
		t.Skipf("SKIPPED: %s names no PostgreSQL; make test-postgres starts one", PostgresVariable)
	}
	schema := "stoa_" + strings.ToLower(rand.Text())
	administer(t, server, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { administer(t, server, "DROP SCHEMA "+schema+" CASCADE") })
	parsed, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	query := parsed.Query()
	query.Set("search_path", schema)
	parsed.RawQuery = query.Encode()
	return parsed.String()
}

// administer runs a statement on a connection of its own. The package postgres has registered the driver.
func administer(t testing.TB, server, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", server)
	if err == nil {
		_, err = db.ExecContext(context.WithoutCancel(t.Context()), statement)
		_ = db.Close()
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", statement, err))
	}
}
