package train

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// sampleRows is how many rows the edges of bins are found from; LightGBM's bin_construct_sample_cnt.
	sampleRows = 200_000
	// minDataInBin is the fewest sampled rows of a bin; LightGBM's min_data_in_bin.
	minDataInBin = 3
)

// A binned table holds every feature as small integers. Values up to and including edges[i] fall into bin i, larger
// ones into the next; a missing value has the bin after the last, if the feature has any.
type binned struct {
	rows     int
	features []binnedFeature
	columns  []column
}

// A column holds the bins of one feature, or of a [bundle] of features, by row.
type column struct {
	bins   []uint8
	size   int  // number of bins
	offset int  // first bin of the column within a histogram of all columns
	turns  bool // rows are summed by two in turn, see fill
}

// A binnedFeature is one feature of a binned table.
type binnedFeature struct {
	edges    []float32 // one fewer than the bins of values, ascending
	missing  bool      // some value is missing
	sparse   bool      // no value is missing and at least half of them are in the standard bin, out of several
	standard uint8     // the bin of zero
	column   int       // which column holds the feature's bins
	start    int       // first bin of the feature within its column
	offset   int       // first bin of the feature within a histogram of all columns
}

// values is the number of bins that hold values.
func (f *binnedFeature) values() int { return len(f.edges) + 1 }

// size is the number of bins, that of missing values included.
func (f *binnedFeature) size() int {
	if f.missing {
		return f.values() + 1
	}
	return f.values()
}

// bin cuts every column into at most most bins, with edges from a sample drawn by seed.
func bin(columns [][]float32, rows, most int, seed uint64, workers int) *binned {
	sample := sampledRows(rows, seed)
	b := &binned{rows: rows, features: make([]binnedFeature, len(columns)), columns: make([]column, len(columns))}
	parallel(workers, len(columns), func(i int) {
		f := &b.features[i]
		f.missing = slices.ContainsFunc(columns[i], func(v float32) bool { return v != v })
		f.edges = findEdges(gather(columns[i], sample), f.limit(most))
		f.standard = f.binOf(0)
		f.column = i
		b.columns[i] = column{bins: make([]uint8, rows), size: f.size()}
	})
	perColumn := (rows + blockRows - 1) / blockRows
	parallel(workers, len(columns)*perColumn, func(i int) {
		f, from := i/perColumn, i%perColumn*blockRows
		to := min(rows, from+blockRows)
		b.features[f].assign(columns[f][from:to], b.columns[f].bins[from:to])
	})
	parallel(workers, len(columns), func(i int) {
		f, c := &b.features[i], &b.columns[i]
		f.sparse = !f.missing && f.size() > 1 && 2*bytes.Count(c.bins, []byte{f.standard}) >= rows
		c.turns = f.sparse || f.size() <= fewBins
	})
	b.place()
	return b
}

// place lays the columns out one after another within a histogram.
func (b *binned) place() {
	for i := 1; i < len(b.columns); i++ {
		b.columns[i].offset = b.columns[i-1].offset + b.columns[i-1].size
	}
	for i := range b.features {
		f := &b.features[i]
		f.offset = b.columns[f.column].offset + f.start
	}
}

// limit is the number of bins left for values.
func (f *binnedFeature) limit(most int) int {
	if f.missing {
		return most - 1
	}
	return most
}

// total is the number of bins of all columns.
func (b *binned) total() int {
	if len(b.columns) == 0 {
		return 0
	}
	last := &b.columns[len(b.columns)-1]
	return last.offset + last.size
}

// sampledRows draws the rows that the edges are found from, in order; nil is all of them.
func sampledRows(rows int, seed uint64) []int32 {
	if rows <= sampleRows {
		return nil
	}
	return drawRows(rand.New(rand.NewPCG(seed, streamBins)), rows, sampleRows)
}

// drawRows draws exactly want of rows, ascending, each set of that size being equally likely.
func drawRows(random *rand.Rand, rows, want int) []int32 {
	drawn := make([]int32, 0, want)
	for i := 0; len(drawn) < want; i++ {
		if random.IntN(rows-i) < want-len(drawn) {
			drawn = append(drawn, int32(i))
		}
	}
	return drawn
}

// gather copies the values of the rows named (nil is all) that are not missing, sorted.
func gather(column []float32, rows []int32) []float32 {
	values := make([]float32, 0, max(len(rows), 1))
	if rows == nil {
		for _, v := range column {
			if v == v {
				values = append(values, v)
			}
		}
	} else {
		for _, r := range rows {
			if v := column[r]; v == v {
				values = append(values, v)
			}
		}
	}
	slices.Sort(values)
	return values
}

// findEdges cuts sorted values into at most most bins of about equal counts. A value that would fill one alone ends
// it. It is LightGBM's GreedyFindBin, without its extra bin around zero.
func findEdges(sorted []float32, most int) []float32 {
	var distinct []float32
	var counts []int
	for i, v := range sorted {
		if i == 0 || v != sorted[i-1] {
			distinct, counts = append(distinct, v), append(counts, 0)
		}
		counts[len(counts)-1]++
	}
	if len(distinct) < 2 {
		return nil
	}
	if len(distinct) <= most {
		return edgesOfFew(distinct, counts)
	}
	return edgesOfMany(distinct, counts, len(sorted), most)
}

// edgesOfFew gives every distinct value its bin, joining those with too few rows.
func edgesOfFew(distinct []float32, counts []int) []float32 {
	var edges []float32
	in := 0
	for i := range len(distinct) - 1 {
		if in += counts[i]; in >= minDataInBin {
			edges = append(edges, between(distinct[i], distinct[i+1]))
			in = 0
		}
	}
	return edges
}

// edgesOfMany fills bins up to the mean size of those that are left.
func edgesOfMany(distinct []float32, counts []int, total, most int) []float32 {
	most = max(1, min(most, total/minDataInBin))
	mean := float64(total) / float64(most)
	restBins, restRows := most, total
	big := make([]bool, len(counts))
	for i, c := range counts {
		if float64(c) >= mean {
			big[i] = true
			restBins--
			restRows -= c
		}
	}
	mean = float64(restRows) / float64(restBins)
	var edges []float32
	in := 0
	for i := range len(distinct) - 1 {
		if len(edges) >= most-1 {
			break
		}
		if !big[i] {
			restRows -= counts[i]
		}
		in += counts[i]
		if big[i] || float64(in) >= mean || (big[i+1] && float64(in) >= math.Max(1, mean/2)) {
			edges = append(edges, between(distinct[i], distinct[i+1]))
			in = 0
			if !big[i] {
				restBins--
				mean = float64(restRows) / float64(restBins)
			}
		}
	}
	return edges
}

// between returns the middle of two values, at least low and less than high, so that "up to the edge" parts them in
// FP32.
func between(low, high float32) float32 {
	middle := float32((float64(low) + float64(high)) / 2)
	if middle < high {
		return middle
	}
	return low
}

// assign puts values into their bins.
func (f *binnedFeature) assign(values []float32, bins []uint8) {
	missing := uint8(f.values())
	for i, v := range values {
		if v != v {
			bins[i] = missing
			continue
		}
		bins[i] = f.binOf(v)
	}
}

// binOf returns the bin of a value that is not missing.
func (f *binnedFeature) binOf(v float32) uint8 {
	low, high := 0, len(f.edges) // the first edge that is at least v
	for low < high {
		if middle := (low + high) / 2; f.edges[middle] < v {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return uint8(low)
}
