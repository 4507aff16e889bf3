package runtime

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// The lowest and highest cell. A cell is what a node compares: a feature turned into an integer in the upper half of
// 64 bits, so that it can be compared with a node word as a whole.
const (
	cellLow  = int64(math.MinInt32) << 32
	cellHigh = int64(math.MaxInt32) << 32
)

// A column is one test input derived from a feature. Nodes that treat NaN alike share a column of their feature; a test
// of equality or membership has a column of its own, low when the test holds and high when not.
type column struct {
	feature int
	low     bool      // NaN sorts below all numbers instead of above
	members []float64 // when not empty, the test holds for these
	ranks   []float64 // in a forest of doubles: its thresholds, sorted; a cell is a rank among them
}

// isMember reports whether x is in the column's set.
func (c *column) isMember(x float64) bool {
	for _, m := range c.members {
		if x == m {
			return true
		}
	}
	return x != x && c.low
}

// cell returns the cell of x in a forest of single precision.
func (c *column) cell(x float32) int64 {
	switch {
	case len(c.members) > 0:
		if c.isMember(float64(x)) {
			return cellLow
		}
		return cellHigh
	case x == x:
		return int64(ordered(x)) << 32
	case c.low:
		return cellLow
	}
	return cellHigh
}

// rank returns the cell of x in a forest of doubles: the number of thresholds below x.
func (c *column) rank(x float64) int64 {
	switch {
	case len(c.members) > 0:
		if c.isMember(x) {
			return cellLow
		}
		return cellHigh
	case x == x:
		return int64(sort.SearchFloat64s(c.ranks, x)) << 32
	case c.low:
		return cellLow
	}
	return cellHigh
}

// A columnKey identifies a column while they are collected.
type columnKey struct {
	feature int
	low     bool
	set     string // the members, sorted and formatted; empty for a comparison
}

// A test is a node rewritten into "cell <= key".
type test struct {
	column int
	key    int32
	swap   bool // the true branch is taken when the comparison fails
}

// A tableau collects the columns of a forest and rewrites its nodes into tests on them.
type tableau struct {
	columns []column
	index   map[columnKey]int
	double  bool
	pending []float64 // threshold of each test, by node, until rank says its key
}

// newTableau rewrites every node of s. With double set, features are compared in double precision.
func newTableau(s *forestSpec, double bool) (*tableau, []test) {
	t := &tableau{index: map[columnKey]int{}, double: double, pending: make([]float64, len(s.nodes))}
	tests := make([]test, len(s.nodes))
	for i := range s.nodes {
		if s.nodes[i].mode != modeLeaf {
			tests[i] = t.rewrite(&s.nodes[i], i)
		}
	}
	if double {
		t.rank(s, tests)
	}
	return t, tests
}

// rewrite turns b into a test. Greater-than is less-or-equal with its branches exchanged, and NaN must then sort the
// other way; unequal is equal with its branches exchanged, and holds for NaN.
func (t *tableau) rewrite(b *branch, node int) test {
	switch b.mode {
	case modeEQ, modeMember:
		return test{column: t.column(b.feature, b.missing, b.members)}
	case modeNEQ:
		return test{column: t.column(b.feature, false, b.members), swap: true}
	}
	swap := b.mode == modeGT || b.mode == modeGTE
	below := b.mode == modeLT || b.mode == modeGTE // the threshold itself does not pass
	w := test{column: t.column(b.feature, b.missing != swap, nil), swap: swap}
	if t.double {
		t.pending[node] = b.threshold
		switch {
		case below && math.IsInf(b.threshold, -1):
			t.pending[node] = math.NaN() // no number is below it
		case below:
			t.pending[node] = math.Nextafter(b.threshold, math.Inf(-1))
		}
		return w
	}
	w.key = ordered(float32(b.threshold))
	if below {
		w.key--
	}
	return w
}

// column returns the number of a column, which it adds when there is none of the kind yet.
func (t *tableau) column(feature int, low bool, members []float64) int {
	key := columnKey{feature: feature, low: low}
	if members != nil {
		members = slices.Clone(members)
		for i := range members {
			if !t.double {
				members[i] = float64(float32(members[i]))
			}
		}
		slices.Sort(members)
		members = slices.Compact(members)
		key.set = fmt.Sprint(members)
	}
	if i, ok := t.index[key]; ok {
		return i
	}
	t.index[key] = len(t.columns)
	t.columns = append(t.columns, column{feature: feature, low: low, members: members})
	return len(t.columns) - 1
}

// rank sets the keys of a forest of doubles: x <= threshold exactly when fewer thresholds are below x than the
// threshold's own rank allows.
func (t *tableau) rank(s *forestSpec, tests []test) {
	compares := func(i int) bool {
		return s.nodes[i].mode != modeLeaf && len(t.columns[tests[i].column].members) == 0
	}
	for i, threshold := range t.pending {
		if compares(i) && threshold == threshold {
			c := &t.columns[tests[i].column]
			c.ranks = append(c.ranks, threshold)
		}
	}
	for i := range t.columns {
		slices.Sort(t.columns[i].ranks)
		t.columns[i].ranks = slices.Compact(t.columns[i].ranks)
	}
	for i, threshold := range t.pending {
		switch {
		case !compares(i):
		case threshold == threshold:
			tests[i].key = int32(sort.SearchFloat64s(t.columns[tests[i].column].ranks, threshold))
		default:
			tests[i].key = -1
		}
	}
}
