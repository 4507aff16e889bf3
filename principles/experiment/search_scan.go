package experiment

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"

	"github.com/stoaproject/stoa/store"
)

// scan gives the numbers of what satisfies a clause about keys and values; of IS NULL, of what does not.
func (q *query) scan(ctx context.Context, tx *store.Tx, c *clause) (*numbers, error) {
	switch c.entity {
	case entityMetric:
		return q.scanMetric(ctx, tx, c)
	case entityDataset:
		return q.scanDataset(ctx, tx, c)
	case entitySpan:
		return q.scanSpans(ctx, tx, c)
	}
	if c.entity == entityMetadata && c.key == metaSourceRun {
		return q.scanTraceRuns(ctx, tx, c)
	}
	return q.scanPairs(ctx, tx, c)
}

// scanTraceRuns gives the traces that say the run that they are of, or were linked to it later.
func (q *query) scanTraceRuns(ctx context.Context, tx *store.Tx, c *clause) (*numbers, error) {
	set, err := q.scanPairs(ctx, tx, c)
	if err != nil {
		return nil, err
	}
	where, args := q.within("")
	holds := c.holds
	if c.op == opIsNull {
		holds = func(string) bool { return true }
	}
	linked, err := matchNumbers(ctx, tx, holds, "trace", "run_id", "FROM experiment_trace_run WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	set.add(linked)
	return set, nil
}

// scanPairs gives what has a value for a key that satisfies a clause.
func (q *query) scanPairs(ctx context.Context, tx *store.Tx, c *clause) (*numbers, error) {
	pairs := q.subject.pairs[c.entity]
	where, args := q.within("")
	rest := "FROM " + pairs.table + " WHERE " + where + " AND key = ?"
	args = append(args, c.key)
	exact := len(c.text) <= headBytes-utf8Max // then a text and its head are equal to it together
	switch {
	case c.op == opIsNull, c.op == opIsNotNull:
		return readNumbers(ctx, tx, pairs.owner, rest, args...)
	case c.op == "=" && exact, c.op == "!=" && exact:
		return readNumbers(ctx, tx, pairs.owner, rest+" AND head "+sqlOperator(c.op)+" ?", append(args, c.text)...)
	case c.op == "=":
		return readNumbers(ctx, tx, pairs.owner, rest+" AND head = ? AND value = ?", append(args, head(c.text), c.text)...)
	}
	return matchNumbers(ctx, tx, c.holds, pairs.owner, "value", rest, args...)
}

// utf8Max is the most bytes of a character, which a cut between characters may leave out of a head.
const utf8Max = 4

// sqlOperator is the name of an operator in SQL.
func sqlOperator(op string) string {
	if op == "!=" {
		return "<>"
	}
	return op
}

// scanMetric gives what has a value of a metric that satisfies a clause.
func (q *query) scanMetric(ctx context.Context, tx *store.Tx, c *clause) (*numbers, error) {
	where, args := q.within("")
	rest := "FROM " + q.subject.metrics + " WHERE " + where + " AND key = ? AND "
	args = append(args, c.key, c.number)
	if c.op == "!=" {
		rest += "(value <> ? OR is_nan = 1)"
	} else {
		rest += "value " + c.op + " ? AND is_nan = 0"
	}
	if len(q.datasets) > 0 {
		var either []string
		for _, d := range q.datasets {
			either = append(either, "dataset_name = ? AND (dataset_digest = ? OR ? = '')")
			args = append(args, d.DatasetName, d.DatasetDigest, d.DatasetDigest)
		}
		rest += " AND (" + strings.Join(either, " OR ") + ")"
	}
	return readNumbers(ctx, tx, q.subject.owner, rest, args...)
}

// scanDataset gives the runs that used a data set that satisfies a clause.
func (q *query) scanDataset(ctx context.Context, tx *store.Tx, c *clause) (*numbers, error) {
	where, args := q.within("d.")
	if c.key == "context" {
		return matchNumbers(ctx, tx, c.holds, "t.run", "t.value", `FROM experiment_dataset d
			JOIN experiment_input i ON i.dataset = d.id
			JOIN experiment_input_tag t ON t.run = i.run AND t.dataset = i.dataset AND t.key = 'mlflow.data.context'
			WHERE `+where, args...)
	}
	return matchNumbers(ctx, tx, c.holds, "i.run", "d."+c.key, `FROM experiment_dataset d
		JOIN experiment_input i ON i.dataset = d.id WHERE `+where, args...)
}

// scanSpans gives the traces that have a span that satisfies a clause.
func (q *query) scanSpans(ctx context.Context, tx *store.Tx, c *clause) (*numbers, error) {
	where, args := q.within("")
	column, holds := c.key, c.holds
	switch {
	case c.key == "type":
		column = "span_type"
	case c.key == "content":
		column = "wire"
	case strings.HasPrefix(c.key, "attributes."):
		name := strings.TrimPrefix(c.key, "attributes.")
		column, holds = "attributes", func(text string) bool {
			var attributes map[string]string
			if json.Unmarshal([]byte(text), &attributes) != nil {
				return false
			}
			value, has := attributes[name]
			return has && c.holds(value)
		}
	}
	return matchNumbers(ctx, tx, holds, "trace", column, "FROM experiment_span WHERE "+where, args...)
}

// readNumbers reads the set of the numbers in a column of what the rest of a statement finds. They leave the database as
// one text: a row costs several times what a number in a text does.
func readNumbers(ctx context.Context, tx *store.Tx, column, rest string, args ...any) (*numbers, error) {
	var text sql.NullString
	err := tx.QueryRow(ctx, "SELECT string_agg(CAST("+column+" AS TEXT), ',') "+rest, args...).Scan(&text)
	if err != nil {
		return nil, err
	}
	set := &numbers{}
	number := int64(0)
	for i := range len(text.String) {
		digit := text.String[i]
		if digit != ',' {
			number = number*10 + int64(digit-'0')
			continue
		}
		set.insert(number)
		number = 0
	}
	if text.String != "" {
		set.insert(number)
	}
	return set, nil
}

// matchNumbers reads the set of the numbers in a column of what the rest of a statement finds, where the text in another
// column satisfies holds.
func matchNumbers(
	ctx context.Context, tx *store.Tx, holds func(string) bool, column, text, rest string, args ...any,
) (*numbers, error) {
	rows, err := tx.Query(ctx, "SELECT "+column+", "+text+" "+rest, args...)
	if err != nil {
		return nil, err
	}
	set := &numbers{}
	var id int64
	var value sql.RawBytes
	return set, scanAll(rows, func() error {
		err := rows.Scan(&id, &value)
		if holds(string(value)) {
			set.insert(id)
		}
		return err
	})
}
