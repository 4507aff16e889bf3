package train

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// oneHot makes a table like Forest CoverType: ten quantities, a category of four values and one of 36, each category
// as one column per value.
func oneHot(t testing.TB, rows int) *Table {
	t.Helper()
	const quantities, few, many = 10, 4, 36
	random := rand.New(rand.NewPCG(11, uint64(rows)))
	columns, names := make([][]float32, quantities+few+many), make([]string, quantities+few+many)
	for f := range columns {
		names[f] = "f" + strconv.Itoa(f)
		columns[f] = make([]float32, rows)
	}
	labels := make([]string, rows)
	for i := range rows {
		score := random.NormFloat64()
		for f := range quantities {
			v := random.NormFloat64()
			columns[f][i] = float32(v)
			score += v * v / float64(f+1)
		}
		area, soil := random.IntN(few), min(random.IntN(many), random.IntN(many))
		columns[quantities+area][i] = 1
		columns[quantities+few+soil][i] = 1
		score += float64(area%3) - float64(soil%5)/2
		labels[i] = color(min(max(int(score)-1, 0), 1))
	}
	table, err := NewTable("class", names, columns, labels)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Whatever the columns, a bundle says of every row what the columns that it replaced did.
func TestBundlesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 300).Draw(t, "rows")
		kinds := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 20).Draw(t, "kinds")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		columns := make([][]float32, len(kinds))
		for i := range columns {
			columns[i] = make([]float32, rows)
		}
		for r := range rows {
			category := random.IntN(len(kinds)) // of these, only columns of kind 0 and 1 take notice
			for i, kind := range kinds {
				switch {
				case kind == 0 && i == category:
					columns[i][r] = float32(random.IntN(40) - 20)
				case kind == 1 && i == category, kind == 2 && random.IntN(10) == 0:
					columns[i][r] = 1
				case kind == 3:
					columns[i][r] = float32(random.NormFloat64())
				case kind == 4 && random.IntN(10) == 0:
					columns[i][r] = float32(math.NaN())
				}
			}
		}
		apart, together := bin(columns, rows, 255, 0, 1), bin(columns, rows, 255, 0, 1)
		together.bundle(1)
		if apart.total() != together.total() {
			t.Fatalf("%d bins in bundles, %d apart", together.total(), apart.total())
		}
		for i := range columns {
			f := &together.features[i]
			column := &together.columns[f.column]
			if f.missing && column.size != f.size() {
				t.Fatalf("feature %d has missing values and is in a bundle", i)
			}
			for r, want := range apart.columns[i].bins {
				got := int(column.bins[r]) - f.start
				if got < 0 || got >= f.size() {
					got = int(f.standard)
				}
				if got != int(want) {
					t.Fatalf("feature %d has bin %d in row %d, in its bundle %d", i, want, r, got)
				}
			}
		}
	})
}

func TestBundlesFound(t *testing.T) {
	columns := func(features, rows int, value func(f, r int) float32) [][]float32 {
		out := make([][]float32, features)
		for f := range out {
			for r := range rows {
				out[f] = append(out[f], value(f, r))
			}
		}
		return out
	}
	hot := func(is bool) float32 {
		if is {
			return 1
		}
		return 0
	}
	for _, c := range []struct {
		name    string
		columns [][]float32
		want    []int // number of features by column of bins
	}{
		{"a category", columns(8, 80, func(f, r int) float32 { return hot(r%8 == f) }), []int{8}},
		{"two categories", columns(8, 81, func(f, r int) float32 {
			if f < 4 {
				return hot(r%4 == f)
			}
			return hot(r/4%4 == f-4)
		}), []int{4, 4}},
		{"one row shared", columns(2, 80, func(f, r int) float32 { return hot(r%8 == f || r == 79) }), []int{1, 1}},
		{"zero is not the least value", columns(3, 90, func(f, r int) float32 {
			return hot(r%9 == f) - hot(r%9 == f+3)
		}), []int{3}},
		{"more than a column has bins for", columns(300, 3000, func(f, r int) float32 { return hot(r%300 == f) }),
			[]int{128, 128, 44}},
		{"missing values", columns(2, 80, func(f, r int) float32 {
			if r == 0 {
				return float32(math.NaN())
			}
			return hot(r%8 == f)
		}), []int{1, 1}},
		{"mostly not zero", columns(2, 80, func(f, r int) float32 { return hot(r%4 != 0) }), []int{1, 1}},
		{"constants", columns(2, 80, func(f, r int) float32 { return 0 }), []int{1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := bin(c.columns, len(c.columns[0]), 255, 0, 2)
			data.bundle(2)
			counts := make([]int, len(data.columns))
			for i := range data.features {
				counts[data.features[i].column]++
			}
			if !slices.Equal(counts, c.want) {
				t.Errorf("columns of bins hold %v features, want %v", counts, c.want)
			}
		})
	}
}

func TestTreesDoNotDependOnBundles(t *testing.T) {
	missing := oneHot(t, 3000)
	for r := range missing.Rows() {
		if r%7 == 0 {
			missing.Columns[12][r] = float32(math.NaN())
			missing.Columns[20][r] = float32(math.NaN())
		}
	}
	for _, c := range []struct {
		name   string
		table  *Table
		change func(o *Options)
	}{
		{"all columns", oneHot(t, 20_000), nil},
		{"no bounds", oneHot(t, 3000), func(o *Options) { o.MinDataInLeaf, o.MaxLeaves = 1, 200 }},
		{"sampled", oneHot(t, 3000), func(o *Options) { o.Subsample, o.ColumnSample = 0.5, 0.3 }},
		{"missing values", missing, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(GBDT, c.change)
			o.Rounds, o.Threads = 10, 2
			goal, err := newTarget(c.table, Auto, c.table.Rows())
			if err != nil {
				t.Fatal(err)
			}
			together := newBooster(c.table.Columns, goal, c.table.Rows(), o)
			apart := newBooster(c.table.Columns, goal, c.table.Rows(), o)
			apart.grower.data = bin(c.table.Columns, c.table.Rows(), o.MaxBins, o.Seed, 1)
			if n, m := len(together.grower.data.columns), len(apart.grower.data.columns); n >= m {
				t.Fatalf("%d columns of bins with bundles, %d without", n, m)
			}
			for range o.Rounds {
				together.round()
				apart.round()
			}
			if len(apart.trees) != o.Rounds || !reflect.DeepEqual(together.ensemble, apart.ensemble) {
				t.Error("the trees differ with bundles")
			}
		})
	}
}

// Gradients of all magnitudes make sums that round, so that the order in which a bin's rows are added shows.
func TestSumsDoNotDependOnBundles(t *testing.T) {
	table := oneHot(t, 5000)
	random := rand.New(rand.NewPCG(13, 0))
	gradients := make([]gradient, table.Rows())
	sum := cell{}
	for r := range gradients {
		gradients[r] = gradient{float32(random.NormFloat64()), float32(math.Exp(10 * random.NormFloat64()))}
		sum.count(gradients[r])
	}
	cells := func(b *binned) (all [][]cell) {
		histogram := make([]cell, b.total()+histogramPad)
		for i := range b.columns {
			b.columns[i].fill(histogram, nil, gradients)
		}
		for i := range b.features {
			f := &b.features[i]
			own := histogram[f.offset : f.offset+f.size()]
			if f.sparse {
				f.derive(own, sum)
			}
			all = append(all, own)
		}
		return all
	}
	apart, together := bin(table.Columns, table.Rows(), 255, 0, 1), bin(table.Columns, table.Rows(), 255, 0, 1)
	together.bundle(1)
	if !reflect.DeepEqual(cells(apart), cells(together)) {
		t.Error("the histograms differ with bundles")
	}
}

func TestSameBytesOfBundlesForAnyNumberOfThreads(t *testing.T) {
	table := oneHot(t, 20_000)
	model := func(threads int) []byte {
		return artifact(t, fit(t, table, options(GBDT, func(o *Options) { o.Rounds, o.Threads = 10, threads })))
	}
	one := model(1)
	for _, threads := range []int{2, 3, 8} {
		if !bytes.Equal(one, model(threads)) {
			t.Errorf("%d threads give another model than one", threads)
		}
	}
}

func BenchmarkFitOneHot(b *testing.B) {
	table := oneHot(b, 80_000)
	o := options(GBDT, func(o *Options) { o.MaxDepth, o.Threads, o.Holdout = 6, 1, 0 })
	for b.Loop() {
		fit(b, table, o)
	}
}
