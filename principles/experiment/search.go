package experiment

import (
	"cmp"
	"context"
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
// database. The page that most ask for, the latest of all, is read in the order of its index instead.
//
// A page token is the position of the last thing of a page in the order: what is added or removed meanwhile moves
// nothing else.

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
	var rows []found
	if q.inIndexOrder(candidates) {
		rows, err = q.indexRows(ctx, tx, after)
	} else {
		rows, err = q.pageRows(ctx, tx, candidates, after)
	}
	if err != nil {
		return nil, "", err
	}
	if len(rows) > q.limit {
		rows = rows[:q.limit]
		last := rows[q.limit-1]
		token = encodeToken(position{Query: q.fingerprint, Name: last.name, Keys: last.keys})
	}
	for _, f := range rows {
		ids = append(ids, f.id)
	}
	return ids, token, nil
}

// pageRows gives the page after a position, and one thing more when there is one. It looks at what comes first alone when
// that is enough for a page.
func (q *query) pageRows(ctx context.Context, tx *store.Tx, candidates *numbers, after *position) ([]found, error) {
	first, err := q.first(ctx, tx, candidates, after)
	if err != nil {
		return nil, err
	}
	if first != nil {
		rows, err := q.sortedRows(ctx, tx, first, after)
		if err != nil || len(rows) > q.limit {
			return rows, err
		}
	}
	return q.sortedRows(ctx, tx, candidates, after)
}

// sortedRows gives the page after a position, and one thing more when there is one, by sorting what is found.
func (q *query) sortedRows(ctx context.Context, tx *store.Tx, candidates *numbers, after *position) ([]found, error) {
	rows, err := q.rows(ctx, tx, candidates)
	if err != nil {
		return nil, err
	}
	if err := q.sortKeys(ctx, tx, rows); err != nil {
		return nil, err
	}
	if after != nil {
		end := found{name: after.Name, keys: after.Keys}
		rows = slices.DeleteFunc(rows, func(f found) bool { return q.compare(f, end) <= 0 })
	}
	return smallest(rows, q.limit+1, q.compare), nil
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
