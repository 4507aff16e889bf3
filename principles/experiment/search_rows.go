package experiment

import (
	"context"
	"database/sql"
	"strings"

	"github.com/stoaproject/stoa/store"
)

// rows reads the rows of the candidates that have the right stage and satisfy the clauses about attributes.
func (q *query) rows(ctx context.Context, tx *store.Tx, candidates *numbers) ([]found, error) {
	read := q.rowColumns()
	columns := append([]string{"id", q.subject.name}, read...)
	conditions, args, filters := q.attributeConditions()
	var all []found
	collect := func(statement string, args []any) error {
		rows, err := tx.Query(ctx, statement, args...)
		if err != nil {
			return err
		}
		return q.collect(rows, len(read), filters, candidates, &all)
	}
	staged := q.subject.stages && len(q.stages) == 1
	if candidates == nil || candidates.count() > fewCandidates {
		where, within := q.within("")
		if staged {
			where, within = where+" AND stage = ?", append(within, q.stages[0])
		}
		for _, c := range filters {
			columns = append(columns, c.key)
		}
		err := collect("SELECT "+strings.Join(columns, ", ")+" FROM "+q.subject.table+" WHERE "+where+conditions,
			append(within, args...))
		return all, err
	}
	// Here the numbers say it all: a condition on the stage would tempt the database to walk the index that begins with
	// it, so the stage is compared here.
	if staged {
		filters = append(filters, &clause{key: "stage", op: "=", text: q.stages[0]})
	}
	for _, c := range filters {
		columns = append(columns, c.key)
	}
	err := inChunks(candidates.list(), func(marks string, ids []any) error {
		return collect("SELECT "+strings.Join(columns, ", ")+" FROM "+q.subject.table+" WHERE id IN ("+marks+")"+conditions,
			append(ids, args...))
	})
	return all, err
}

// attributeConditions are the clauses about attributes: as a condition where SQL says the same on every database, and
// the rest.
func (q *query) attributeConditions() (conditions string, args []any, filters []*clause) {
	for i := range q.clauses {
		c := &q.clauses[i]
		switch {
		case c.entity != entityAttribute:
		case q.subject.grammar.numeric(c.key):
			conditions += " AND " + c.key + " " + sqlOperator(c.op) + " ?"
			args = append(args, c.number)
		case c.op == "=":
			conditions += " AND " + c.key + " = ?"
			args = append(args, c.text)
		default:
			filters = append(filters, c)
		}
	}
	return conditions, args, filters
}

// inIndexOrder reports whether the rows of the page can be read in the order of an index, and no others: when nothing
// but SQL's own conditions chooses them, and the default order orders them.
func (q *query) inIndexOrder(candidates *numbers) bool {
	_, _, filters := q.attributeConditions()
	return candidates == nil && len(filters) == 0 && q.subject.scope != "" && len(q.order) == 1 &&
		q.order[0].entity == entityAttribute && q.order[0].key == q.subject.time && q.order[0].descending
}

// indexRows reads the page after a position, and one row more when there is one, in the order of the index.
func (q *query) indexRows(ctx context.Context, tx *store.Tx, after *position) ([]found, error) {
	where, args := q.within("")
	if q.subject.stages && len(q.stages) == 1 {
		where, args = where+" AND stage = ?", append(args, q.stages[0])
	}
	conditions, values, _ := q.attributeConditions()
	where, args = where+conditions, append(args, values...)
	time, name := q.subject.time, q.subject.name
	if after != nil {
		at := int64(after.Keys[0].Number)
		where += " AND " + time + " <= ? AND (" + time + " < ? OR " + name + " > ?)"
		args = append(args, at, at, after.Name)
	}
	rows, err := tx.Query(ctx, "SELECT id, "+name+", "+time+" FROM "+q.subject.table+" WHERE "+where+
		" ORDER BY "+time+" DESC, "+name+" LIMIT ?", append(args, q.limit+1)...)
	if err != nil {
		return nil, err
	}
	var all []found
	err = scanAll(rows, func() error {
		f := found{keys: make([]sortValue, 1)}
		err := rows.Scan(&f.id, &f.name, (*float64)(&f.keys[0].Number))
		all = append(all, f)
		return err
	})
	return all, err
}

// rowColumns are the attributes that the order needs, in its order.
func (q *query) rowColumns() []string {
	var columns []string
	for _, key := range q.order {
		if key.entity == entityAttribute {
			columns = append(columns, key.key)
		}
	}
	return columns
}

// collect reads rows of a number, a name, attributes to order by and attributes to filter by.
func (q *query) collect(rows *sql.Rows, read int, filters []*clause, candidates *numbers, all *[]found) error {
	var f found
	values := make([]any, read)
	texts := make([]sql.NullString, len(filters))
	into := []any{&f.id, &f.name}
	for i := range values {
		into = append(into, &values[i])
	}
	for i := range texts {
		into = append(into, &texts[i])
	}
	return scanAll(rows, func() error {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if candidates != nil && !candidates.has(f.id) {
			return nil
		}
		for i, c := range filters {
			if !texts[i].Valid || !c.holds(texts[i].String) {
				return nil
			}
		}
		row := f
		row.row = make([]sortValue, read)
		for i, value := range values {
			row.row[i] = columnValue(value)
		}
		*all = append(*all, row)
		return nil
	})
}

// columnValue is the sort value of a column.
func columnValue(value any) sortValue {
	switch v := value.(type) {
	case int64:
		return sortValue{Number: Float64(v)}
	case float64:
		return numberValue(v, false)
	case string:
		return sortValue{Text: v}
	case []byte:
		return sortValue{Text: string(v)}
	}
	return sortValue{Class: classNone}
}

// sortKeys gives every row its values of the order keys.
func (q *query) sortKeys(ctx context.Context, tx *store.Tx, rows []found) error {
	ids := make([]int64, len(rows))
	keys := make([]sortValue, len(rows)*len(q.order))
	for i := range rows {
		ids[i] = rows[i].id
		rows[i].keys = keys[i*len(q.order) : (i+1)*len(q.order) : (i+1)*len(q.order)]
	}
	read := 0
	for k, key := range q.order {
		if key.entity == entityAttribute {
			for i := range rows {
				rows[i].keys[k] = rows[i].row[read]
			}
			read++
			continue
		}
		values, err := q.valuesOf(ctx, tx, key, ids)
		if err != nil {
			return err
		}
		for i := range rows {
			value, has := values[rows[i].id]
			if !has {
				value.Class = classNone
			}
			rows[i].keys[k] = value
		}
	}
	return nil
}

// valuesOf reads the values of one order key, of a metric or of a table of keys and values.
func (q *query) valuesOf(ctx context.Context, tx *store.Tx, key orderKey, ids []int64) (map[int64]sortValue, error) {
	values := make(map[int64]sortValue, len(ids))
	read := func(where string, args []any) error {
		if key.entity == entityMetric {
			return q.readMetricValues(ctx, tx, key, where, args, values)
		}
		pairs := q.subject.pairs[key.entity]
		rows, err := tx.Query(ctx, "SELECT "+pairs.owner+", value FROM "+pairs.table+" WHERE "+where+" AND key = ?",
			append(args, key.key)...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var id int64
			var value sortValue
			err := rows.Scan(&id, &value.Text)
			values[id] = value
			return err
		})
	}
	if len(ids) > fewCandidates {
		where, args := q.within("")
		return values, read(where, args)
	}
	return values, inChunks(ids, func(marks string, args []any) error {
		return read(q.subject.owner+" IN ("+marks+")", args)
	})
}

// readMetricValues reads values of a metric to order by; the last one read of a thing counts.
func (q *query) readMetricValues(
	ctx context.Context, tx *store.Tx, key orderKey, where string, args []any, values map[int64]sortValue,
) error {
	statement := "SELECT " + q.subject.owner + ", value, is_nan FROM " + q.subject.metrics + " WHERE " + where + " AND key = ?"
	args = append(args, key.key)
	if key.dataset.DatasetName != "" {
		statement += " AND dataset_name = ? AND (dataset_digest = ? OR ? = '')"
		args = append(args, key.dataset.DatasetName, key.dataset.DatasetDigest, key.dataset.DatasetDigest)
	}
	if q.subject.metrics == modelMetricTable {
		statement += " ORDER BY at, step, run_id DESC"
	}
	rows, err := tx.Query(ctx, statement, args...)
	if err != nil {
		return err
	}
	return scanAll(rows, func() error {
		var id, isNaN int64
		var value float64
		err := rows.Scan(&id, &value, &isNaN)
		values[id] = numberValue(value, isNaN != 0)
		return err
	})
}
