package train

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestBins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32), rapid.Just(float32(math.NaN())),
			rapid.Float32Range(0, 1), rapid.Just(float32(1)))
		column := rapid.SliceOfN(value, 1, 600).Draw(t, "column")
		most := rapid.IntRange(2, 255).Draw(t, "most")
		data := bin([][]float32{column}, len(column), most, 0, 1)
		f, bins := &data.features[0], data.columns[0].bins
		if f.size() > most {
			t.Fatalf("%d bins, at most %d were asked for", f.size(), most)
		}
		if !slices.IsSorted(f.edges) || len(slices.Compact(slices.Clone(f.edges))) != len(f.edges) {
			t.Fatalf("edges %v do not ascend", f.edges)
		}
		for i, v := range column {
			b := int(bins[i])
			switch {
			case v != v:
				if b != f.values() || !f.missing {
					t.Fatalf("a missing value is in bin %d of %d", b, f.values())
				}
			case b < len(f.edges) && v > f.edges[b], b > 0 && v <= f.edges[b-1], b >= f.values():
				t.Fatalf("%v is in bin %d of edges %v", v, b, f.edges)
			}
		}
	})
}

// A value that fills half of the rows ends its bin, and the others share the rest about evenly.
func TestBinsOfAFrequentValue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	column := make([]float32, 10_000)
	for i := range column {
		if i%2 == 0 {
			column[i] = float32(random.NormFloat64())
		}
	}
	data := bin([][]float32{column}, len(column), 51, 0, 1)
	f := &data.features[0]
	counts := make([]int, f.size())
	for _, b := range data.columns[0].bins {
		counts[b]++
	}
	slices.Sort(counts)
	if top := counts[len(counts)-1]; top < 5000 || top >= 5050 {
		t.Errorf("the bin of zero has %d rows, want 5000 and less than half a bin more", top)
	}
	if len(counts) != 51 || counts[0] < 50 || counts[len(counts)-2] > 150 {
		t.Errorf("the other bins have %v rows, want about 100 each", counts[:len(counts)-1])
	}
}

func TestDrawRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 300).Draw(t, "rows")
		want := rapid.IntRange(0, rows).Draw(t, "want")
		drawn := drawRows(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), rows, want)
		if len(drawn) != want || !slices.IsSorted(drawn) || len(slices.Compact(slices.Clone(drawn))) != want {
			t.Fatalf("drew %v", drawn)
		}
		if want > 0 && (drawn[0] < 0 || int(drawn[want-1]) >= rows) {
			t.Fatalf("drew %v of %d rows", drawn, rows)
		}
	})
}

// The histogram of a leaf must be that of its rows, and the partition must keep them in order, with one worker or more.
func TestPartitionKeepsTheOrder(t *testing.T) {
	const rows = 5 * blockRows / 2
	column := make([]float32, rows)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range column {
		column[i] = random.Float32()
		if i%7 == 0 {
			column[i] = float32(math.NaN())
		}
	}
	data := bin([][]float32{column}, rows, 255, 0, 1)
	f := &data.features[0]
	for _, workers := range []int{1, 4} {
		g := &grower{data: data, workers: workers}
		order, scratch := make([]int32, rows), make([]int32, rows)
		for i := range order {
			order[i] = int32(i)
		}
		s := &split{bin: 100, missingLeft: true}
		left := g.partition(f, s, order, scratch)
		if !slices.IsSorted(order[:left]) || !slices.IsSorted(order[left:]) {
			t.Errorf("%d workers: a side is out of order", workers)
		}
		for i, r := range order {
			if goesLeft := column[r] != column[r] || column[r] <= f.edges[100]; goesLeft != (i < left) {
				t.Fatalf("%d workers: row %d with %v is on the wrong side", workers, r, column[r])
			}
		}
	}
}
