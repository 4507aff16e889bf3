// Package storetest has the suites that every driver of the store passes.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stoaproject/stoa/store"
)

// DB checks a driver of [store.DB]. open gives a new, empty database, which the suite does not close.
func DB(t *testing.T, open func(t *testing.T) *store.DB) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *store.DB){
		"what is written is read":                  writeThenRead,
		"an error rolls back":                      errorRollsBack,
		"a panic rolls back and frees the writer":  panicRollsBack,
		"a transaction for reading does not write": readOnly,
		"nothing found":                            nothingFound,
		"a constraint is an error of its own":      constraint,
		"foreign keys hold":                        foreignKeys,
		"concurrent writers lose nothing":          concurrentWriters,
		"commit hooks follow the commits":          commitHooks,
		"a cancelled write leaves nothing":         cancelled,
		"migrations":                               migrations,
		"a failing migration leaves nothing":       failingMigration,
		"a newer database is refused":              newerDatabase,
		"values come back as they were":            values,
		"text sorts by its bytes":                  textOrder,
		"text that no engine keeps is refused":     badText,
		"marks in literals are no placeholders":    placeholders,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// change runs statements in one transaction.
func change(t *testing.T, db *store.DB, statements ...string) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for _, statement := range statements {
			if _, err := tx.Exec(t.Context(), statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// count gives the number of rows in the table item.
func count(t *testing.T, db *store.DB) int {
	t.Helper()
	var n int
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), "SELECT count(*) FROM item").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const makeItem = "CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL)"

func insert(ctx context.Context, tx *store.Tx, id int) error {
	_, err := tx.Exec(ctx, "INSERT INTO item (id, name) VALUES (?, ?)", id, "x")
	return err
}

func writeThenRead(t *testing.T, db *store.DB) {
	change(t, db, makeItem, "INSERT INTO item (id, name) VALUES (1, 'one'), (2, 'two')")
	var names []string
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(t.Context(), "SELECT name FROM item WHERE id >= ? ORDER BY id", 1)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			names = append(names, name)
		}
		return rows.Err()
	})
	if err != nil || fmt.Sprint(names) != "[one two]" {
		t.Errorf("read %v, %v", names, err)
	}
}

func errorRollsBack(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	failure := errors.New("no")
	ran := false
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		tx.OnCommit(func() { ran = true })
		return errors.Join(insert(t.Context(), tx, 1), failure)
	})
	if !errors.Is(err, failure) || count(t, db) != 0 || ran {
		t.Errorf("error %v, %d rows, commit hook ran: %v", err, count(t, db), ran)
	}
}

func panicRollsBack(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = db.Write(t.Context(), func(tx *store.Tx) error {
			if err := insert(t.Context(), tx, 1); err != nil {
				t.Error(err)
			}
			panic("no")
		})
	}()
	change(t, db, "INSERT INTO item (id, name) VALUES (2, 'two')")
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func readOnly(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	err := db.Read(t.Context(), func(tx *store.Tx) error { return insert(t.Context(), tx, 1) })
	if err == nil || count(t, db) != 0 {
		t.Errorf("error %v, %d rows", err, count(t, db))
	}
}

func nothingFound(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		var name string
		return tx.QueryRow(t.Context(), "SELECT name FROM item WHERE id = 7").Scan(&name)
	})
	if !errors.Is(err, store.ErrNotFound) || !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("error %v", err)
	}
}

func constraint(t *testing.T, db *store.DB) {
	change(t, db, makeItem, "INSERT INTO item (id, name) VALUES (1, 'one')")
	err := db.Write(t.Context(), func(tx *store.Tx) error { return insert(t.Context(), tx, 1) })
	if _, ours := store.Reason(err); err == nil || ours {
		t.Errorf("a duplicate key gives %v", err)
	}
}

func foreignKeys(t *testing.T, db *store.DB) {
	change(t, db, makeItem, "CREATE TABLE part (item BIGINT NOT NULL REFERENCES item (id))")
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), "INSERT INTO part (item) VALUES (7)")
		return err
	})
	if err == nil {
		t.Error("a row refers to nothing")
	}
}

func concurrentWriters(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	const writers, each = 20, 5
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				err := db.Write(t.Context(), func(tx *store.Tx) error {
					var newest int
					row := tx.QueryRow(t.Context(), "SELECT COALESCE(MAX(id), 0) FROM item")
					if err := row.Scan(&newest); err != nil {
						return err
					}
					return insert(t.Context(), tx, newest+1)
				})
				if err != nil {
					t.Error(err)
				}
				count(t, db)
			}
		})
	}
	group.Wait()
	if n := count(t, db); n != writers*each {
		t.Errorf("%d rows, want %d", n, writers*each)
	}
}

func commitHooks(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	var order []int // written in hooks only, which never overlap
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			err := db.Write(t.Context(), func(tx *store.Tx) error {
				var newest int
				row := tx.QueryRow(t.Context(), "SELECT COALESCE(MAX(id), 0) FROM item")
				if err := row.Scan(&newest); err != nil {
					return err
				}
				tx.OnCommit(func() { order = append(order, newest+1) })
				return insert(t.Context(), tx, newest+1)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i, id := range order {
		if id != i+1 {
			t.Fatalf("hooks ran in the order %v", order)
		}
	}
	if len(order) != 20 {
		t.Errorf("%d hooks ran", len(order))
	}
}

func cancelled(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Write(ctx, func(tx *store.Tx) error {
		err := insert(ctx, tx, 1)
		cancel()
		return err
	})
	if err == nil || count(t, db) != 0 {
		t.Errorf("error %v, %d rows", err, count(t, db))
	}
	if err := db.Write(ctx, func(*store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("writing under a context that has ended gives %v", err)
	}
	change(t, db, "INSERT INTO item (id, name) VALUES (2, 'two')")
}

// files makes a directory of migrations.
func files(statements ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i, statement := range statements {
		name := fmt.Sprintf("migrations/%05d_step.sql", i+1)
		fsys[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + statement + ";\n")}
	}
	return fsys
}

func migrations(t *testing.T, db *store.DB) {
	second := "INSERT INTO item (id, name) VALUES (1, 'one')"
	for _, fsys := range []fstest.MapFS{files(makeItem), files(makeItem, second), files(makeItem, second)} {
		if err := db.Migrate(t.Context(), "items", fsys); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
	if err := db.Migrate(t.Context(), "others", files("CREATE TABLE other (id BIGINT)")); err != nil {
		t.Errorf("a second room: %v", err)
	}
	for _, name := range []string{"", "Upper", "a b", "x;DROP TABLE item"} {
		if err := db.Migrate(t.Context(), name, files(makeItem)); err == nil {
			t.Errorf("a room may be named %q", name)
		}
	}
}

func failingMigration(t *testing.T, db *store.DB) {
	change(t, db, makeItem)
	bad := files("INSERT INTO item (id, name) VALUES (1, 'one');\nINSERT INTO nowhere (id) VALUES (1)")
	if err := db.Migrate(t.Context(), "items", bad); err == nil || count(t, db) != 0 {
		t.Errorf("error %v, %d rows", err, count(t, db))
	}
	good := files("INSERT INTO item (id, name) VALUES (1, 'one')")
	if err := db.Migrate(t.Context(), "items", good); err != nil || count(t, db) != 1 {
		t.Errorf("after mending it: error %v, %d rows", err, count(t, db))
	}
}

func newerDatabase(t *testing.T, db *store.DB) {
	if err := db.Migrate(t.Context(), "items", files(makeItem, "SELECT 1")); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), "items", files(makeItem)); err == nil {
		t.Error("an older program runs on a newer database")
	}
}
