package postgres_test

import (
	"testing"

	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

// benchmarkOn runs a benchmark on the engine that the environment names: SQLite on the disk, or PostgreSQL.
func benchmarkOn(b *testing.B) *store.DB {
	db, err := storetest.OpenAt(b.Context(), storetest.Place(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	mustWrite(b, db, "CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, body TEXT)")
	return db
}

func BenchmarkWrite(b *testing.B) {
	db := benchmarkOn(b)
	for id := 0; b.Loop(); id++ {
		mustWrite(b, db, "INSERT INTO item (id, body) VALUES (?, ?)", id, "some text")
	}
}

func BenchmarkRead(b *testing.B) {
	db := benchmarkOn(b)
	mustWrite(b, db, "INSERT INTO item (id, body) VALUES (1, 'some text')")
	for b.Loop() {
		number(b, db, "SELECT id FROM item WHERE id = ?", 1)
	}
}

func BenchmarkOpen(b *testing.B) {
	place := storetest.Place(b)
	for b.Loop() {
		db, err := storetest.OpenAt(b.Context(), place)
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
