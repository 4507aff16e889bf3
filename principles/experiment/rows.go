package experiment

import (
	"context"
	"database/sql"
	"strings"
	"unicode/utf8"

	"github.com/stoaproject/stoa/store"
)

// rowsPerInsert is how many rows go into one statement: enough to spread the cost of a statement, and few enough for the
// parser and for the number of placeholders that the databases take.
const rowsPerInsert = 64

// insertRows inserts rows of equal width with as few statements as reasonable. head is the statement up to VALUES, and
// tail what follows the rows.
func insertRows(ctx context.Context, tx *store.Tx, head string, width int, args []any, tail string) error {
	row := "(?" + strings.Repeat(",?", width-1) + ")"
	full := ""
	for len(args) > 0 {
		n := min(len(args)/width, rowsPerInsert)
		statement := full
		if n < rowsPerInsert || statement == "" {
			statement = head + " VALUES " + row + strings.Repeat(","+row, n-1) + " " + tail
			if n == rowsPerInsert {
				full = statement
			}
		}
		if _, err := tx.Exec(ctx, statement, args[:n*width]...); err != nil {
			return err
		}
		args = args[n*width:]
	}
	return nil
}

// headBytes is how much of a text its head has.
const headBytes = 100

// head is the beginning of a text that an index holds, cut between characters.
func head(text string) string {
	if len(text) <= headBytes {
		return text
	}
	n := headBytes
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// An owner is what keys and values belong to: a run, a logged model or a trace, and the experiment that it is in.
type owner struct {
	id         int64
	experiment int64
}

// A pairTable is a table of keys and values with a column for whose they are.
type pairTable struct{ table, owner string }

// set gives the owner values by key, in place of those it had; the last of equal keys counts.
func (p pairTable) set(ctx context.Context, tx *store.Tx, of owner, tags []Tag) error {
	return p.insert(ctx, tx, of, tags, "ON CONFLICT ("+p.owner+", key) DO UPDATE SET head = excluded.head, value = excluded.value")
}

// add gives the owner values by key; it keeps those that it had.
func (p pairTable) add(ctx context.Context, tx *store.Tx, of owner, tags []Tag) error {
	return p.insert(ctx, tx, of, tags, "ON CONFLICT DO NOTHING")
}

func (p pairTable) insert(ctx context.Context, tx *store.Tx, of owner, tags []Tag, conflict string) error {
	at := make(map[string]int, len(tags))
	args := make([]any, 0, 5*len(tags))
	for _, tag := range tags {
		if i, seen := at[tag.Key]; seen {
			args[i+3], args[i+4] = head(tag.Value), tag.Value
			continue
		}
		at[tag.Key] = len(args)
		args = append(args, of.id, of.experiment, tag.Key, head(tag.Value), tag.Value)
	}
	return insertRows(ctx, tx, "INSERT INTO "+p.table+" ("+p.owner+", experiment, key, head, value)", 5, args, conflict)
}

// remove takes a key from the owner, and gives none when it did not have it.
func (p pairTable) remove(ctx context.Context, tx *store.Tx, of owner, key string, none error) error {
	result, err := tx.Exec(ctx, "DELETE FROM "+p.table+" WHERE "+p.owner+" = ? AND key = ?", of.id, key)
	if err != nil {
		return err
	}
	return affected(result, none)
}

// each calls fn for every key and value of the owners, with the index of the owner, in the order
// of the keys.
func (p pairTable) each(ctx context.Context, tx *store.Tx, ids []int64, fn func(i int, key, value string)) error {
	place := make(map[int64]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	return inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, "SELECT "+p.owner+", key, value FROM "+p.table+" WHERE "+p.owner+
			" IN ("+marks+") ORDER BY "+p.owner+", key", args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var id int64
			var key, value string
			if err := rows.Scan(&id, &key, &value); err != nil {
				return err
			}
			fn(place[id], key, value)
			return nil
		})
	})
}

// idsPerQuery is how many numbers go into one IN list.
const idsPerQuery = 500

// inChunks calls fn with the placeholders and the arguments of IN lists that together hold ids.
func inChunks(ids []int64, fn func(marks string, args []any) error) error {
	for len(ids) > 0 {
		n := min(len(ids), idsPerQuery)
		args := make([]any, n)
		for i, id := range ids[:n] {
			args[i] = id
		}
		if err := fn(marks(n), args); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// marks is n placeholders.
func marks(n int) string { return strings.Repeat("?,", n-1) + "?" }

// scanAll calls scan for every row, and closes rows.
func scanAll(rows *sql.Rows, scan func() error) error {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// affected gives none when a statement changed no row.
func affected(result sql.Result, none error) error {
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = none
	}
	return err
}

// The tables of keys and values.
var (
	experimentTags = pairTable{"experiment_experiment_tag", "experiment"}
	runParams      = pairTable{"experiment_param", "run"}
	runTags        = pairTable{"experiment_tag", "run"}
	modelParams    = pairTable{"experiment_model_param", "model"}
	modelTags      = pairTable{"experiment_model_tag", "model"}
	traceTags      = pairTable{"experiment_trace_tag", "trace"}
	traceMetadata  = pairTable{"experiment_trace_metadata", "trace"}
)
