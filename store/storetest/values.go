package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// makeValue is a migration, so that each engine gives the columns its own types.
const makeValue = "CREATE TABLE value (id BIGINT NOT NULL PRIMARY KEY, number BIGINT, plain INTEGER, text TEXT, " +
	"real DOUBLE PRECISION, short REAL, truth BIGINT, body BLOB)"

// A value is one row of the table value.
type value struct {
	number, plain int64
	text          string
	real, short   float64
	truth         bool
	body          []byte
}

func migrateValue(t *testing.T, db *store.DB) {
	t.Helper()
	if err := db.Migrate(t.Context(), "values", files(makeValue)); err != nil {
		t.Fatal(err)
	}
}

func values(t *testing.T, db *store.DB) {
	migrateValue(t, db)
	all := []value{
		{},
		{math.MaxInt64, math.MaxInt64, "größe 漢字 🙂 '\"\\%_", math.MaxFloat64, 0.1, true, []byte{0, 1, 0xff}},
		{math.MinInt64, math.MinInt64, " \t\n", math.SmallestNonzeroFloat64, 1e300, false, bytes.Repeat([]byte{0}, 1<<20)},
		{-1, 1 << 40, "\u0001", math.Inf(-1), math.Inf(1), true, nil},
	}
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for i, v := range all {
			_, err := tx.Exec(t.Context(), "INSERT INTO value (id, number, plain, text, real, short, truth, body) "+
				"VALUES (?, ?, ?, ?, ?, ?, ?, ?)", i, v.number, v.plain, v.text, v.real, v.short, v.truth, v.body)
			if err != nil {
				return fmt.Errorf("value %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range all {
		var got value
		var sum int64
		err := db.Read(t.Context(), func(tx *store.Tx) error {
			err := tx.QueryRow(t.Context(), "SELECT number, plain, text, real, short, truth, body FROM value WHERE id = ?", i).
				Scan(&got.number, &got.plain, &got.text, &got.real, &got.short, &got.truth, &got.body)
			if err != nil {
				return err
			}
			return tx.QueryRow(t.Context(), "SELECT SUM(truth) FROM value WHERE truth = ?", true).Scan(&sum)
		})
		if err != nil || sum != 2 || fmt.Sprint(got.body) != fmt.Sprint(want.body) {
			t.Fatalf("value %d: sum %d, %d bytes, %v", i, sum, len(got.body), err)
		}
		got.body, want.body = nil, nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("value %d is %+v, was %+v", i, got, want)
		}
	}
}

func textOrder(t *testing.T, db *store.DB) {
	migrateValue(t, db)
	texts := []string{"b", "B", "a", "A", "_", "a b", "ab", "a-b", "ä", "Z", "~", ""}
	var got []string
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for i, text := range texts {
			if _, err := tx.Exec(t.Context(), "INSERT INTO value (id, text) VALUES (?, ?)", i, text); err != nil {
				return err
			}
		}
		rows, err := tx.Query(t.Context(), "SELECT text FROM value WHERE text >= ? ORDER BY text", "")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			got = append(got, text)
		}
		return rows.Err()
	})
	slices.Sort(texts)
	if err != nil || !slices.Equal(got, texts) {
		t.Errorf("sorted %q, want %q, %v", got, texts, err)
	}
}

func badText(t *testing.T, db *store.DB) {
	migrateValue(t, db)
	for _, text := range []string{"a\x00b", "\xff", "half a character: \xe6\xbc"} {
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO value (id, text) VALUES (1, ?)", text)
			return err
		})
		if reason, _ := store.Reason(err); !errors.Is(err, store.ErrText) || reason != stoa.ReasonInvalid {
			t.Errorf("%q gives %v", text, err)
		}
	}
}

func placeholders(t *testing.T, db *store.DB) {
	var literal, quoted, given string
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT 'who? it''s me?', x."a?", x.b FROM -- which?
			(SELECT 'q' AS "a?", 'given' AS b /* ? */) x WHERE x.b = ?`, "given").Scan(&literal, &quoted, &given)
	})
	if err != nil || literal != "who? it's me?" || quoted != "q" || given != "given" {
		t.Errorf("%q, %q, %q, %v", literal, quoted, given, err)
	}
}
