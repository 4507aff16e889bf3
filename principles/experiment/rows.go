package experiment

import (
	"context"
	"database/sql"
	"strings"

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

// setTags sets tags of one owner in a table of keys and values; the last of equal keys counts.
func setTags(ctx context.Context, tx *store.Tx, table, owner string, id int64, tags []Tag) error {
	place := make(map[string]int, len(tags))
	args := make([]any, 0, 3*len(tags))
	for _, tag := range tags {
		if at, seen := place[tag.Key]; seen {
			args[at+2] = tag.Value
			continue
		}
		place[tag.Key] = len(args)
		args = append(args, id, tag.Key, tag.Value)
	}
	return insertRows(ctx, tx, "INSERT INTO "+table+" ("+owner+", key, value)", 3, args,
		"ON CONFLICT ("+owner+", key) DO UPDATE SET value = excluded.value")
}

// eachPair calls fn for every key and value that a table has for the owners, with the index of the owner, in the order
// of the keys.
func eachPair(
	ctx context.Context, tx *store.Tx, table, owner string, ids []int64, fn func(i int, key, value string),
) error {
	place := make(map[int64]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	return inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, "SELECT "+owner+", key, value FROM "+table+" WHERE "+owner+" IN ("+marks+") ORDER BY "+
			owner+", key", args...)
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
