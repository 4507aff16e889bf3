package train

// A gradient is the first and second derivative of a row's loss by its score. FP32 halves the memory read per row;
// they are summed in float64.
type gradient struct{ g, h float32 }

// A cell of a histogram sums the rows of one bin.
type cell struct {
	g, h float64
	n    int64
}

// count adds a row.
func (c *cell) count(g gradient) {
	c.g += float64(g.g)
	c.h += float64(g.h)
	c.n++
}

// add adds another cell.
func (c *cell) add(o cell) {
	c.g += o.g
	c.h += o.h
	c.n += o.n
}

// sub subtracts another cell.
func (c *cell) sub(o cell) {
	c.g -= o.g
	c.h -= o.h
	c.n -= o.n
}

// histogramPad is added to the length of every histogram, so that each column's cells can be seen as an array of 256.
const histogramPad = 256

// fewBins is the size up to which a column's rows are summed by two in turn: with few bins the next row is likely to
// hit the cell just written, and would wait for it. Sparse features, whose rows mostly hit one cell, are summed so
// whatever their size.
const fewBins = 32

// fill sums the gradients of rows by bin into the column's cells of histogram. gradients are in the order of rows;
// rows of nil are all rows in order.
func (c *column) fill(histogram []cell, rows []int32, gradients []gradient) {
	clear(histogram[c.offset : c.offset+c.size])
	cells := (*[256]cell)(histogram[c.offset:]) // indexed by uint8: no bounds to check in the loops
	second := cells
	if c.turns {
		second = new([256]cell)
	}
	i := 0
	if rows == nil {
		bins := c.bins[:len(gradients)]
		for ; i+1 < len(gradients); i += 2 {
			cells[bins[i]].count(gradients[i])
			second[bins[i+1]].count(gradients[i+1])
		}
	} else {
		rows = rows[:len(gradients)]
		for ; i+1 < len(gradients); i += 2 {
			cells[c.bins[rows[i]]].count(gradients[i])
			second[c.bins[rows[i+1]]].count(gradients[i+1])
		}
	}
	for ; i < len(gradients); i++ {
		r := int32(i)
		if rows != nil {
			r = rows[i]
		}
		cells[c.bins[r]].count(gradients[i])
	}
	if second != cells {
		for b := range c.size {
			cells[b].add(second[b])
		}
	}
}

// minHessian is the least sum of hessians of a leaf; LightGBM's min_sum_hessian_in_leaf.
const minHessian = 1e-3

// A split parts the rows of a leaf in two.
type split struct {
	gain        float64
	feature     int // -1 when there is none
	bin         int // rows of bins up to this one go left
	missingLeft bool
	left        cell // sums of the rows that go left
}

// A splitter finds splits under the bounds of the options.
type splitter struct {
	l2      float64
	minData int64
}

// score is twice what a leaf with these sums takes off the loss.
func (s splitter) score(c cell) float64 { return c.g * c.g / (c.h + s.l2) }

// best returns the split of a feature with the largest gain, or one of feature -1. cells is the feature's histogram
// within the leaf, sum the leaf's. Of equal gains it takes the first in the order of the scan.
func (s splitter) best(f *binnedFeature, index int, cells []cell, sum cell) split {
	found := split{feature: -1}
	values := f.values()
	base := s.score(sum)
	var missing cell
	if f.missing {
		missing = cells[values]
	}
	for side := range 2 {
		left := cell{}
		if side == 1 {
			if missing.n == 0 {
				break // both sides are the same
			}
			left = missing
		}
		last := values - 1
		if side == 0 && missing.n > 0 {
			last = values // all values left, the missing ones right
		}
		for b := range last {
			left.add(cells[b])
			right := sum
			right.sub(left)
			if left.n < s.minData || left.h < minHessian {
				continue
			}
			if right.n < s.minData || right.h < minHessian {
				break
			}
			if gain := s.score(left) + s.score(right) - base; gain > found.gain {
				found = split{gain: gain, feature: index, bin: b, missingLeft: side == 1, left: left}
			}
		}
	}
	if found.feature >= 0 && missing.n == 0 {
		found.missingLeft = found.left.n*2 >= sum.n // nothing to learn from: with the many
	}
	return found
}
