package train

// A gradient is the first and second derivative of a row's loss by its score. FP32 halves the memory read per row; they are
// summed in float64.
type gradient struct{ g, h float32 }

// A cell of a histogram sums the rows of one bin.
type cell struct {
	g, h float64
	n    int64
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

// fill sums the gradients of rows by bin into out, which has a cell per bin of the feature. gradients are in the order of
// rows; rows of nil are all rows in order.
func (f *binnedFeature) fill(out []cell, rows []int32, gradients []gradient) {
	var local [256]cell // indexed by uint8: no bounds to check in the loop
	if rows == nil {
		bins := f.bins[:len(gradients)]
		for i, g := range gradients {
			c := &local[bins[i]]
			c.g += float64(g.g)
			c.h += float64(g.h)
			c.n++
		}
	} else {
		gradients = gradients[:len(rows)]
		for i, r := range rows {
			c := &local[f.bins[r]]
			c.g += float64(gradients[i].g)
			c.h += float64(gradients[i].h)
			c.n++
		}
	}
	copy(out, local[:len(out)])
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

// best returns the split of a feature with the largest gain, or one of feature -1. cells is the feature's histogram within
// the leaf, sum the leaf's. Of equal gains it takes the first in the order of the scan.
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
