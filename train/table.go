package train

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Limits on what a file may hold. They bound memory against a broken or hostile file and are far above real tables.
const (
	maxRowBytes    = 16 << 20      // one line of a CSV file
	maxTargetBytes = 256           // one class label
	maxColumns     = 100_000       // columns of a file
	maxRows        = math.MaxInt32 // rows are indexed by int32
)

// Columns says which columns of a file to read.
type Columns struct {
	Target   string   // the column to predict
	Features []string // the columns to predict from, in the order of the model's input; empty is all but the target
}

// A Table is what a model is fitted to: numeric features by column, and a target by row.
type Table struct {
	Source   string      // where it was read from, for messages; may be empty
	Digest   string      // "sha256:" and 64 hex digits of the file's bytes; empty for a table made in memory
	Target   string      // name of the target
	Features []string    // names of the features
	Columns  [][]float32 // one per feature, of Rows values each; NaN is a missing value
	Labels   []int32     // the target of each row, an index into Values
	Values   []string    // the distinct targets as written, in the order of their first row
}

// NewTable makes a table in memory. The columns are kept, not copied.
func NewTable(target string, features []string, columns [][]float32, labels []string) (*Table, error) {
	if len(features) != len(columns) {
		return nil, fmt.Errorf("%d feature names for %d columns", len(features), len(columns))
	}
	if err := checkNames(append([]string{target}, features...)); err != nil {
		return nil, err
	}
	t := &Table{Target: target, Features: features, Columns: columns}
	for i, c := range columns {
		if len(c) != len(labels) {
			return nil, fmt.Errorf("column %q has %d rows, the target %d", features[i], len(c), len(labels))
		}
		if j := slices.IndexFunc(c, func(v float32) bool { return math.IsInf(float64(v), 0) }); j >= 0 {
			return nil, fmt.Errorf("column %q is infinite in row %d", features[i], j+1)
		}
	}
	in := newInterner()
	for i, l := range labels {
		if isMissing(l) {
			return nil, fmt.Errorf("the target is missing in row %d", i+1)
		}
		t.Labels = append(t.Labels, in.code(l))
	}
	t.Values = in.values
	return t, nil
}

// Rows is the number of rows.
func (t *Table) Rows() int { return len(t.Labels) }

// slice is a view of the rows from (inclusive) to (exclusive).
func (t *Table) slice(from, to int) *Table {
	s := *t
	s.Labels = t.Labels[from:to]
	s.Columns = make([][]float32, len(t.Columns))
	for i, c := range t.Columns {
		s.Columns[i] = c[from:to]
	}
	return &s
}

// A DataError says what is wrong with a file, and where.
type DataError struct {
	File         string
	Line, Column int // from 1; 0 when the place is the file as a whole
	Message      string
	Hint         string // what to do next; may be empty
	Err          error  // cause; may be nil
}

// Error returns "file:line:column: message (hint)".
func (e *DataError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": " + e.Message)
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *DataError) Unwrap() error { return e.Err }

// A selection maps the columns of a file to those of the table.
type selection struct {
	target   int
	features []int
	names    []string
}

// choose finds the wanted columns among those of a file.
func choose(file string, have []string, want Columns) (selection, error) {
	fail := func(format string, args ...any) (selection, error) {
		return selection{}, &DataError{
			File: file, Message: fmt.Sprintf(format, args...), Hint: "the file has the columns " + listing(have),
		}
	}
	if err := checkNames(have); err != nil {
		return selection{}, &DataError{File: file, Line: 1, Message: err.Error(), Hint: "rename one of the columns"}
	}
	if want.Target == "" {
		return fail("no target column named")
	}
	s := selection{target: slices.Index(have, want.Target), names: want.Features}
	if s.target < 0 {
		return fail("no column %q for the target", want.Target)
	}
	if len(want.Features) == 0 {
		for _, n := range have {
			if n != want.Target {
				s.names = append(s.names, n)
			}
		}
	}
	if len(s.names) == 0 {
		return fail("no column left for a feature")
	}
	seen := map[string]bool{}
	for _, n := range s.names {
		i := slices.Index(have, n)
		switch {
		case i < 0:
			return fail("no column %q for a feature", n)
		case i == s.target:
			return fail("the target %q is also named as a feature", n)
		case seen[n]:
			return fail("the feature %q is named twice", n)
		}
		seen[n] = true
		s.features = append(s.features, i)
	}
	return s, nil
}

// checkNames reports a name that is empty or given twice.
func checkNames(names []string) error {
	seen := make(map[string]bool, len(names))
	for i, n := range names {
		if n == "" {
			return fmt.Errorf("column %d has no name", i+1)
		}
		if seen[n] {
			return fmt.Errorf("two columns are named %q", n)
		}
		seen[n] = true
	}
	return nil
}

// listing joins names for a message, the first 30 of them.
func listing(names []string) string {
	const most = 30
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// An interner numbers distinct strings in the order of their first appearance.
type interner struct {
	codes  map[string]int32
	values []string
}

func newInterner() *interner { return &interner{codes: map[string]int32{}} }

// code returns the number of s, copying s only when it is new.
func (in *interner) code(s string) int32 {
	if c, ok := in.codes[s]; ok {
		return c
	}
	c := int32(len(in.values))
	s = strings.Clone(s)
	in.codes[s] = c
	in.values = append(in.values, s)
	return c
}

// isMissing reports whether a cell is one of the usual spellings of no value.
func isMissing(s string) bool {
	switch s {
	case "", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "NAN", "null", "NULL", "None":
		return true
	}
	return false
}

// hintNumbers says what to do about a column that cannot be a feature.
const hintNumbers = "encode the column as numbers, or leave it out by naming the others in --features"

// errNotNumber and errNotFinite are the two ways in which a cell cannot be a feature.
var (
	errNotNumber = errors.New("is not a number")
	errNotFinite = errors.New("does not fit a finite FP32 number, the type of the model's input")
)

// parseCell reads a feature's cell. A missing value is NaN.
func parseCell(s string) (float32, error) {
	v, err := strconv.ParseFloat(s, 32)
	switch {
	case err == nil && !math.IsInf(v, 0):
		return float32(v), nil
	case err == nil || errors.Is(err, strconv.ErrRange):
		return 0, errNotFinite
	}
	if t := strings.TrimSpace(s); len(t) != len(s) {
		return parseCell(t)
	}
	if isMissing(s) {
		return float32(math.NaN()), nil
	}
	return 0, errNotNumber
}

// excerpt quotes a cell for a message, cut to a readable length.
func excerpt(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
