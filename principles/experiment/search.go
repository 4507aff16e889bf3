package experiment

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa/store"
)

// A search is set algebra over index scans. Each clause about keys and values is one scan of the index that holds the
// key's values within the experiments; it yields the numbers of what satisfies the clause, and the sets are intersected
// here. The rows of the things themselves give the stage, the attributes and the last order key, and are read for what
// is left only, unless that is most. Sorting is done here too, so that an order does not depend on the collation of a
// database, and a page token is the position of the last thing of a page in that order: what is added or removed
// meanwhile moves nothing else.

// A subject is a kind of thing that can be searched.
type subject struct {
	grammar *grammar
	table   string // its rows, with the number in the column id
	name    string // column of its id on the wire, the last order key
	time    string // column of its default order, descending
	scope   string // column of the experiment in its own and in every other table; empty when it is the experiment
	stages  bool   // whether it has a column stage
	metrics string // table of its metrics; empty when it has none
	owner   string // column of its number in the other tables
	pairs   map[string]pairTable
	byName  bool // whether the last order key descends
}

// A query is one search.
type query struct {
	subject     *subject
	experiments []int64
	stages      []string
	filter      string
	clauses     []clause // of the filter
	order       []orderKey
	datasets    []DatasetName // of a logged model's metrics
	limit       int
	token       string
	fingerprint uint64
}

// A found is one thing that satisfies a query.
type found struct {
	id   int64
	name string
	keys []sortValue // by the order keys, the default among them
	row  []sortValue // attributes read with the row, by name
}

// fewCandidates is how many things are looked up one by one, rather than found by scanning all of them.
const fewCandidates = 4000

// run finds the numbers of what satisfies the query, in order, at most limit of them, and the token of the next page.
func (q *query) run(ctx context.Context, tx *store.Tx) (ids []int64, token string, err error) {
	after, err := q.position()
	if err != nil || q.subject.scope != "" && len(q.experiments) == 0 {
		return nil, "", err
	}
	candidates, err := q.candidates(ctx, tx)
	if err != nil {
		return nil, "", err
	}
	rows, err := q.rows(ctx, tx, candidates)
	if err != nil {
		return nil, "", err
	}
	if err := q.sortKeys(ctx, tx, rows); err != nil {
		return nil, "", err
	}
	if after != nil {
		rows = slices.DeleteFunc(rows, func(f found) bool { return q.compare(f, found{name: after.Name, keys: after.Keys}) <= 0 })
	}
	more := len(rows) > q.limit
	rows = smallest(rows, q.limit, q.compare)
	if more {
		last := rows[len(rows)-1]
		token = encodeToken(position{Query: q.fingerprint, Name: last.name, Keys: last.keys})
	}
	for _, f := range rows {
		ids = append(ids, f.id)
	}
	return ids, token, nil
}

// A position is the content of a page token: the last thing of the page, and what was asked.
type position struct {
	Query uint64      `json:"q"`
	Name  string      `json:"i"`
	Keys  []sortValue `json:"k"`
}

// position reads the token, which must belong to this query.
func (q *query) position() (*position, error) {
	sum := fnv.New64a()
	_, _ = fmt.Fprintf(sum, "%q %v %q %q %v", q.subject.table, q.experiments, q.stages, q.filter, q.order) // never fails
	q.fingerprint = sum.Sum64() >> 11                                                                      // what is left is exact in a JSON number
	if q.token == "" {
		return nil, nil
	}
	var after position
	if err := decodeToken(q.token, &after); err != nil {
		return nil, err
	}
	if after.Query != q.fingerprint || len(after.Keys) != len(q.order) {
		return nil, invalid("Invalid page token: it is of another search")
	}
	return &after, nil
}

// compare orders two things.
func (q *query) compare(a, b found) int {
	for i, key := range q.order {
		if order := a.keys[i].compare(b.keys[i], key.descending); order != 0 {
			return order
		}
	}
	order := compareNames(a.name, b.name)
	if q.subject.byName {
		return -order
	}
	return order
}

// compareNames orders ids: as numbers when both are, and otherwise as texts.
func compareNames(a, b string) int {
	if x, err := strconv.ParseInt(a, 10, 64); err == nil {
		if y, err := strconv.ParseInt(b, 10, 64); err == nil {
			return cmp.Or(cmp.Compare(x, y), strings.Compare(a, b))
		}
	}
	return strings.Compare(a, b)
}

// smallest sorts the n smallest of all to the front and returns them.
func smallest(all []found, n int, compare func(a, b found) int) []found {
	if len(all) > 8*n && n > 0 {
		// Most are beyond the page: keep the best n while passing over the rest.
		best := slices.Clone(all[:n])
		slices.SortFunc(best, compare)
		for _, f := range all[n:] {
			if compare(f, best[n-1]) >= 0 {
				continue
			}
			i, _ := slices.BinarySearchFunc(best, f, compare)
			copy(best[i+1:], best[i:n-1])
			best[i] = f
		}
		return best
	}
	slices.SortFunc(all, compare)
	return all[:min(n, len(all))]
}

// candidates intersects the sets of the clauses about keys and values. Nil means that there is no such clause, so that
// everything is a candidate.
func (q *query) candidates(ctx context.Context, tx *store.Tx) (*numbers, error) {
	var left, without *numbers
	for i := range q.clauses {
		c := &q.clauses[i]
		if c.entity == entityAttribute {
			continue
		}
		set, err := q.scan(ctx, tx, c)
		if err != nil {
			return nil, err
		}
		switch {
		case c.op == opIsNull && without == nil:
			without = set
		case c.op == opIsNull:
			without.add(set)
		case left == nil:
			left = set
		default:
			left.keep(set)
		}
		if left != nil && left.empty() {
			return left, nil
		}
	}
	if without != nil && left == nil {
		all, err := q.everything(ctx, tx)
		if err != nil {
			return nil, err
		}
		left = all
	}
	if without != nil {
		left.remove(without)
	}
	return left, nil
}

// everything is the numbers of all things in the experiments.
func (q *query) everything(ctx context.Context, tx *store.Tx) (*numbers, error) {
	where, args := q.within("")
	return readNumbers(ctx, tx, "id", "FROM "+q.subject.table+" WHERE "+where, args...)
}

// within is the condition that a row is of one of the experiments.
func (q *query) within(prefix string) (string, []any) {
	if q.subject.scope == "" {
		return "1 = 1", nil
	}
	args := make([]any, len(q.experiments))
	for i, id := range q.experiments {
		args[i] = id
	}
	return prefix + q.subject.scope + " IN (" + marks(len(args)) + ")", args
}

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

// rows reads the rows of the candidates that have the right stage and satisfy the clauses about attributes.
func (q *query) rows(ctx context.Context, tx *store.Tx, candidates *numbers) ([]found, error) {
	read := q.rowColumns()
	columns := append([]string{"id", q.subject.name}, read...)
	var conditions string
	var args []any
	var filters []*clause
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
