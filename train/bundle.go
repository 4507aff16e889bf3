package train

import "math/bits"

const (
	// maxBundleBins is the most bins of a bundle, whose bins are uint8.
	maxBundleBins = 256
	// maxCompared is the most bundles that a feature is compared with; LightGBM's max_search_group.
	maxCompared = 100
)

// A bundle is a set of sparse features of which no row has two outside their standard bins, such as the columns of a
// category written as one column per value. One column of bins holds them all: a histogram then costs one pass over
// the rows, and not one per feature. It is LightGBM's exclusive feature bundling without its tolerance for conflicts.
type bundle struct {
	features []int
	size     int    // bins of the features
	count    int    // rows outside the standard bin of some feature
	taken    rowSet // which rows those are
}

// A rowSet has a bit per row.
type rowSet []uint64

// overlaps reports whether two sets of the same table share a row.
func (s rowSet) overlaps(o rowSet) bool {
	for i, word := range s {
		if word&o[i] != 0 {
			return true
		}
	}
	return false
}

// join adds the rows of another set.
func (s rowSet) join(o rowSet) {
	for i, word := range o {
		s[i] |= word
	}
}

// count is the number of rows.
func (s rowSet) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// bundle replaces the columns of sparse features that exclude each other by one column per bundle. No split depends
// on it: a bin keeps its rows in their order, and the standard bin of a sparse feature is derived from the others
// whether the feature is in a bundle or not ([binnedFeature.derive]).
func (b *binned) bundle(workers int) {
	bundles := b.findBundles(workers)
	var columns []column
	done := make([]bool, len(b.features))
	for i := range b.features {
		if done[i] {
			continue
		}
		members, ok := bundles[i]
		if !ok {
			columns = append(columns, b.columns[b.features[i].column])
			b.features[i].column = len(columns) - 1
			continue
		}
		columns = append(columns, b.merge(members, workers))
		for _, m := range members {
			b.features[m].column = len(columns) - 1
			done[m] = true
		}
	}
	b.columns = columns
	b.place()
}

// findBundles puts each sparse feature, in order, into a bundle that it fits in, and returns the bundles of at least
// two features by their first one.
func (b *binned) findBundles(workers int) map[int][]int {
	var open []*bundle
	for i := range b.features {
		f := &b.features[i]
		if !f.sparse {
			continue
		}
		rows := b.outside(f, workers)
		count := rows.count()
		if into := fitting(open, rows, count, f.size(), b.rows); into != nil {
			into.features = append(into.features, i)
			into.size += f.size()
			into.count += count
			into.taken.join(rows)
			continue
		}
		open = append(open, &bundle{features: []int{i}, size: f.size(), count: count, taken: rows})
	}
	found := map[int][]int{}
	for _, o := range open {
		if len(o.features) > 1 {
			found[o.features[0]] = o.features
		}
	}
	return found
}

// fitting returns a bundle with room for size bins that has none of the count rows; nil if none is found. It looks at
// the latest bundles only, the latest first: the columns of a category are mostly next to each other.
func fitting(open []*bundle, rows rowSet, count, size, total int) *bundle {
	for i := len(open) - 1; i >= max(0, len(open)-maxCompared); i-- {
		o := open[i]
		if o.size+size <= maxBundleBins && o.count+count <= total && !o.taken.overlaps(rows) {
			return o
		}
	}
	return nil
}

// outside returns the rows that are not in the feature's standard bin.
func (b *binned) outside(f *binnedFeature, workers int) rowSet {
	rows := make(rowSet, (b.rows+63)/64)
	bins := b.columns[f.column].bins
	blocks(workers, b.rows, func(_, from, to int) { // a block starts at a multiple of 64: no word is shared
		for i, bin := range bins[from:to] {
			if bin != f.standard {
				rows[(from+i)/64] |= 1 << (i % 64)
			}
		}
	})
	return rows
}

// merge writes the bins of features that exclude each other into one column, one feature's bins after another's, and
// notes where each starts. The rows that all features have in their standard bins are put into that of the first:
// standard bins are never read from a histogram before they are derived.
func (b *binned) merge(features []int, workers int) column {
	merged := column{bins: make([]uint8, b.rows), turns: true}
	for _, i := range features {
		b.features[i].start = merged.size
		merged.size += b.features[i].size()
	}
	rest := b.features[features[0]].standard
	blocks(workers, b.rows, func(_, from, to int) {
		out := merged.bins[from:to]
		for i := range out {
			out[i] = rest
		}
		for _, i := range features {
			f := &b.features[i]
			for r, bin := range b.columns[f.column].bins[from:to] {
				if bin != f.standard {
					out[r] = uint8(f.start) + bin
				}
			}
		}
	})
	return merged
}

// derive sets the cell of a sparse feature's standard bin to what the others leave of the leaf's sum. cells is the
// feature's histogram within the leaf.
func (f *binnedFeature) derive(cells []cell, sum cell) {
	rest := sum
	for b := range cells {
		if b != int(f.standard) {
			rest.sub(cells[b])
		}
	}
	cells[f.standard] = rest
}

// byColumn groups features, ascending, by the column that holds their bins, in the order of their first features.
func (b *binned) byColumn(features []int) [][]int {
	groups := make([][]int, 0, len(b.columns))
	at := make([]int, len(b.columns)) // one more than the place of the column's group
	for _, i := range features {
		c := b.features[i].column
		if at[c] == 0 {
			groups = append(groups, nil)
			at[c] = len(groups)
		}
		groups[at[c]-1] = append(groups[at[c]-1], i)
	}
	return groups
}
