package postgres_test

import (
	"testing"

	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

func open(t testing.TB, url string) *store.DB {
	t.Helper()
	db, err := storetest.OpenAt(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestPassesTheSuite(t *testing.T) {
	storetest.DB(t, func(t *testing.T) *store.DB { return open(t, storetest.Postgres(t)) })
}
