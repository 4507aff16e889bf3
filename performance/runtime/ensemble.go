package runtime

import (
	"sync"
)

// rowBlock is the number of rows that pass a block of trees before the next block of trees is taken.
const rowBlock = 32

// An ensemble is a tree ensemble as a kernel: forests compiled for single and, when first needed, double precision, and
// the pool of what a run needs.
type ensemble struct {
	spec   *forestSpec
	single *forest
	double func() *forest
	pool   sync.Pool // of *forestScratch
}

// forestScratch is the working memory of one run over a forest.
type forestScratch struct {
	cells  []int64 // rowBlock rows of columns, with room behind them for walkNarrow's array
	leaves []int32
	scores []float32 // rowBlock rows of targets
	seen   []bool    // which targets any leaf has scored, when that matters
}

func newEnsemble(s *forestSpec) *ensemble {
	e := &ensemble{spec: s, single: compileForest(s, false, maxNarrowColumns)}
	e.double = sync.OnceValue(func() *forest { return compileForest(s, true, maxNarrowColumns) })
	e.pool.New = func() any { return &forestScratch{} }
	return e
}

// grow returns s with length n, reusing its memory when it is large enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// A finisher turns the scores of one row, and which of them any leaf has touched, into outputs.
type finisher interface {
	finish(row int, scores []float32, seen []bool)
}

// run scores every row of x and hands each row to done.
func (e *ensemble) run(x *value, rows, width int, done finisher) error {
	if width < e.spec.width {
		return badShape("the trees read %d features, the tensor of shape %v has %d", e.spec.width, x.shape, width)
	}
	f := e.single
	if x.kind == kindDouble {
		f = e.double()
	}
	s := e.pool.Get().(*forestScratch)
	defer e.pool.Put(s)
	f.prepare(s, rows)
	for first := 0; first < rows; first += rowBlock {
		n := min(rowBlock, rows-first)
		switch x.kind {
		case kindFloat:
			fillCells(f, s.cells, x.f32[first*width:], n, width)
		case kindInt64:
			fillCells(f, s.cells, x.i64[first*width:], n, width)
		case kindInt32:
			fillCells(f, s.cells, x.i32[first*width:], n, width)
		case kindDouble:
			f.fillRanks(s.cells, x.f64[first*width:], n, width)
		default:
			return kindMismatch(x)
		}
		f.score(s, n)
		targets := f.spec.targets
		for r := range n {
			done.finish(first+r, s.scores[r*targets:(r+1)*targets], s.seen[r*targets:(r+1)*targets])
		}
	}
	return nil
}

// prepare sizes s for rows rows.
func (f *forest) prepare(s *forestScratch, rows int) {
	n := min(rows, rowBlock)
	s.cells = grow(s.cells, n*len(f.columns)+maxNarrowColumns)
	s.scores = grow(s.scores, n*f.spec.targets)
	s.seen = grow(s.seen, n*f.spec.targets)
	most := 0
	for i := range f.blocks {
		most = max(most, len(f.blocks[i].roots))
	}
	s.leaves = grow(s.leaves, most)
}

// fillCells writes the cells of n rows in single precision, the precision ONNX Runtime compares integers in as well.
func fillCells[T float32 | int64 | int32](f *forest, cells []int64, x []T, n, width int) {
	at := 0
	for r := range n {
		row := x[r*width : (r+1)*width]
		out := cells[at : at+len(f.columns)]
		for i := range out {
			c := &f.columns[i]
			out[i] = c.cell(float32(row[c.feature]))
		}
		at += len(f.columns)
	}
}

// fillRanks writes the cells of n rows in double precision.
func (f *forest) fillRanks(cells []int64, x []float64, n, width int) {
	at := 0
	for r := range n {
		row := x[r*width : (r+1)*width]
		for i := range f.columns {
			c := &f.columns[i]
			cells[at] = c.rank(row[c.feature])
			at++
		}
	}
}

// score adds up the leaves of all trees for n rows whose cells are filled.
func (f *forest) score(s *forestScratch, n int) {
	targets := f.spec.targets
	clear(s.scores[:n*targets])
	clear(s.seen[:n*targets])
	for bi := range f.blocks {
		b := &f.blocks[bi]
		leaves := s.leaves[:len(b.roots)]
		for r := range n {
			b.walk(s.cells[r*len(f.columns):], leaves)
			found := leaves[:b.trees]
			scores, seen := s.scores[r*targets:(r+1)*targets], s.seen[r*targets:(r+1)*targets]
			switch {
			case f.spec.aggregate == "MIN" || f.spec.aggregate == "MAX":
				f.addExtreme(b, found, scores, seen)
			case f.values != nil && f.target == nil:
				values, sum := f.values[b.base:], scores[0]
				for _, leaf := range found {
					sum += values[leaf]
				}
				scores[0], seen[0] = sum, true
			case f.values != nil:
				values := f.values[b.base:]
				for t, leaf := range found {
					k := f.target[b.first+t]
					scores[k] += values[leaf]
					seen[k] = true
				}
			default:
				f.addSpans(b, found, scores, seen)
			}
		}
	}
}

// addSpans adds the weights of leaves that have any number of them.
func (f *forest) addSpans(b *block, leaves []int32, scores []float32, seen []bool) {
	spans := f.spans[b.base:]
	for _, leaf := range leaves {
		s := spans[leaf]
		for _, w := range f.weight[s.first : s.first+s.count] {
			scores[w.target] += w.value
			seen[w.target] = true
		}
	}
}

// addExtreme keeps the least or greatest weight of each target.
func (f *forest) addExtreme(b *block, leaves []int32, scores []float32, seen []bool) {
	spans, least := f.spans[b.base:], f.spec.aggregate == "MIN"
	for _, leaf := range leaves {
		s := spans[leaf]
		for _, w := range f.weight[s.first : s.first+s.count] {
			if old := scores[w.target]; !seen[w.target] || (w.value < old) == least && w.value != old {
				scores[w.target] = w.value
			}
			seen[w.target] = true
		}
	}
}
