package train

// A grower grows one tree after another on the same binned rows. It is used by one goroutine, which it helps itself.
type grower struct {
	data      *binned
	splitter  splitter
	maxLeaves int
	maxDepth  int
	workers   int

	rows    []int32    // the rows of the tree, grouped by leaf
	moved   []int32    // scratch of partition
	ordered []gradient // scratch: the gradients of a leaf's rows in their order
	free    [][]cell   // histograms not in use
}

// A leaf under way.
type leaf struct {
	from, to  int // its rows within grower.rows
	depth     int
	node      int32
	sum       cell
	histogram []cell // nil when it cannot be split
	split     split
}

// grow returns a tree fitted to the gradients, the leaves' row ranges (by node) and whether it has a split. g.rows
// must hold the rows of the tree, ascending; whole says that these are all rows. features are those that may be split
// on.
func (g *grower) grow(gradients []gradient, whole bool, features []int) (tree, []leaf) {
	groups := g.data.byColumn(features)
	root := leaf{to: len(g.rows), sum: g.total(gradients)}
	t := tree{{feature: -1}}
	leaves := []leaf{root}
	if g.splittable(&leaves[0]) {
		leaves[0].histogram = g.take()
		g.fillAndSplit(&leaves[0], nil, gradients, whole, groups)
	}
	for len(leaves) < g.maxLeaves {
		at := -1
		for i := range leaves {
			l := &leaves[i]
			if l.histogram != nil && l.split.feature >= 0 && (at < 0 || l.split.gain > leaves[at].split.gain) {
				at = i
			}
		}
		if at < 0 {
			break
		}
		left, right := g.divide(&t, leaves[at])
		g.prepare(&left, &right, leaves[at].histogram, gradients, groups)
		leaves[at] = left
		leaves = append(leaves, right)
	}
	for i := range leaves {
		g.give(leaves[i].histogram)
	}
	return t, leaves
}

// splittable reports whether the bounds allow a leaf to be split at all.
func (g *grower) splittable(l *leaf) bool {
	return l.sum.n >= 2*g.splitter.minData && l.sum.h >= 2*minHessian && (g.maxDepth == 0 || l.depth < g.maxDepth)
}

// total sums the gradients of the tree's rows, block by block.
func (g *grower) total(gradients []gradient) cell {
	sums := make([]cell, (len(g.rows)+blockRows-1)/blockRows)
	blocks(g.workers, len(g.rows), func(block, from, to int) {
		sum := cell{n: int64(to - from)}
		for _, r := range g.rows[from:to] {
			sum.g += float64(gradients[r].g)
			sum.h += float64(gradients[r].h)
		}
		sums[block] = sum
	})
	var sum cell
	for _, s := range sums {
		sum.add(s)
	}
	return sum
}

// divide applies a leaf's split: it adds two nodes and parts the rows, keeping their order.
func (g *grower) divide(t *tree, l leaf) (left, right leaf) {
	s := &l.split
	f := &g.data.features[s.feature]
	threshold := maxFloat32
	if s.bin < len(f.edges) {
		threshold = f.edges[s.bin]
	}
	n := int32(len(*t))
	(*t)[l.node] = node{
		feature: int32(s.feature), threshold: threshold, missingLeft: s.missingLeft, left: n, right: n + 1,
	}
	*t = append(*t, node{feature: -1}, node{feature: -1})
	middle := l.from + g.partition(f, s, g.rows[l.from:l.to], g.moved[l.from:l.to])
	other := l.sum
	other.sub(s.left)
	left = leaf{from: l.from, to: middle, depth: l.depth + 1, node: n, sum: s.left}
	right = leaf{from: middle, to: l.to, depth: l.depth + 1, node: n + 1, sum: other}
	return left, right
}

// partition moves the rows that go left to the front, both sides in order, and returns how many those are.
func (g *grower) partition(f *binnedFeature, s *split, rows, scratch []int32) int {
	goesLeft := [256]bool{}
	for b := range goesLeft {
		goesLeft[b] = int(f.standard) <= s.bin // where another feature of a bundle has its rows
	}
	for b := range f.values() {
		goesLeft[f.start+b] = b <= s.bin
	}
	if f.missing {
		goesLeft[f.start+f.values()] = s.missingLeft
	}
	bins := g.data.columns[f.column].bins
	if len(rows) < 2*blockRows || g.workers == 1 {
		left, right := 0, 0
		for _, r := range rows {
			// Both are written and one is kept: no branch to mispredict.
			rows[left], scratch[right] = r, r
			if goesLeft[bins[r]] {
				left++
			} else {
				right++
			}
		}
		copy(rows[left:], scratch[:right])
		return left
	}
	lefts := make([]int, (len(rows)+blockRows-1)/blockRows+1)
	blocks(g.workers, len(rows), func(block, from, to int) {
		left, right := from, to // lefts from the front of the block, rights from its back, reversed
		for _, r := range rows[from:to] {
			if goesLeft[bins[r]] {
				scratch[left] = r
				left++
			} else {
				right--
				scratch[right] = r
			}
		}
		lefts[block+1] = left - from
	})
	for i := 1; i < len(lefts); i++ {
		lefts[i] += lefts[i-1]
	}
	total := lefts[len(lefts)-1]
	blocks(g.workers, len(rows), func(block, from, to int) {
		count := lefts[block+1] - lefts[block]
		copy(rows[lefts[block]:], scratch[from:from+count])
		at := total + from - lefts[block]
		for i := to - 1; i >= from+count; i-- {
			rows[at] = scratch[i]
			at++
		}
	})
	return total
}

// prepare gives two new leaves their histograms, the larger one's being the parent's less the smaller one's, and
// splits.
func (g *grower) prepare(left, right *leaf, parent []cell, gradients []gradient, groups [][]int) {
	small, large := left, right
	if large.sum.n < small.sum.n {
		small, large = large, small
	}
	smallWanted, largeWanted := g.splittable(small), g.splittable(large)
	if !smallWanted && !largeWanted {
		g.give(parent)
		return
	}
	small.histogram, large.histogram = g.take(), parent
	g.fillAndSplit(small, large, gradients, false, groups)
	if !smallWanted {
		g.give(small.histogram)
		small.histogram = nil
	}
	if !largeWanted {
		g.give(large.histogram)
		large.histogram = nil
	}
}

// fillAndSplit fills the histogram of a leaf, subtracts it from that of its sibling, unless that is nil, and finds
// the best split of both. One worker does all of one column, so that no sum depends on how many there are. groups are
// the features that may be split on, by column.
func (g *grower) fillAndSplit(small, large *leaf, gradients []gradient, whole bool, groups [][]int) {
	rows := g.rows[small.from:small.to]
	if whole {
		rows = nil
	} else {
		ordered := g.ordered[:len(rows)]
		blocks(g.workers, len(rows), func(_, from, to int) {
			for i, r := range rows[from:to] {
				ordered[from+i] = gradients[r]
			}
		})
		gradients = ordered
	}
	found := make([]pair, len(g.data.features))
	workers := g.workers
	if (small.to-small.from)*len(groups) < blockRows {
		workers = 1 // less work than waking another costs
	}
	parallel(workers, len(groups), func(i int) {
		column := &g.data.columns[g.data.features[groups[i][0]].column]
		column.fill(small.histogram, rows, gradients)
		for _, f := range groups[i] {
			found[f] = g.splitBoth(f, small, large)
		}
	})
	small.split = split{feature: -1}
	if large != nil {
		large.split = split{feature: -1}
	}
	for i := range found { // of equal gains, the first feature's
		p := &found[i]
		if p.small.gain > small.split.gain {
			small.split = p.small
		}
		if large != nil && p.large.gain > large.split.gain {
			large.split = p.large
		}
	}
}

// A pair is the best splits of a feature in two sibling leaves; a gain of zero is none.
type pair struct{ small, large split }

// splitBoth finds the best splits by one feature, once its column of the small leaf's histogram is filled and that of
// the large one, unless this is nil, still holds the parent's.
func (g *grower) splitBoth(index int, small, large *leaf) pair {
	f := &g.data.features[index]
	cells := small.histogram[f.offset : f.offset+f.size()]
	if f.sparse {
		f.derive(cells, small.sum)
	}
	p := pair{small: g.splitter.best(f, index, cells, small.sum)}
	if large != nil {
		rest := large.histogram[f.offset : f.offset+f.size()]
		for j := range rest {
			rest[j].sub(cells[j])
		}
		p.large = g.splitter.best(f, index, rest, large.sum)
	}
	return p
}

// take returns a histogram to use; its content is whatever it was.
func (g *grower) take() []cell {
	if n := len(g.free); n > 0 {
		h := g.free[n-1]
		g.free = g.free[:n-1]
		return h
	}
	return make([]cell, g.data.total()+histogramPad)
}

// give takes a histogram back. Nil is ignored.
func (g *grower) give(h []cell) {
	if h != nil {
		g.free = append(g.free, h)
	}
}
