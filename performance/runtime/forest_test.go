package runtime

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// numbers are the features and thresholds of random forests: few, so that equality happens, and all the awkward ones.
var numbers = []float64{
	math.Inf(-1), -math.MaxFloat32, -1, -math.SmallestNonzeroFloat32, math.Copysign(0, -1), 0,
	math.SmallestNonzeroFloat32, 0.5, 1, math.Nextafter(1, 2), math.MaxFloat32, math.Inf(1),
}

// drawForest draws a forest whose trees use every mode.
func drawForest(t *rapid.T) *forestSpec {
	s := &forestSpec{targets: rapid.IntRange(1, 3).Draw(t, "targets"), aggregate: "SUM", transform: "NONE", width: 3}
	trees := rapid.IntRange(1, 9).Draw(t, "trees")
	for range trees {
		s.roots = append(s.roots, len(s.nodes))
		drawNode(t, s, rapid.IntRange(0, 11).Draw(t, "depth"))
	}
	return s
}

func drawNode(t *rapid.T, s *forestSpec, depth int) int {
	at := len(s.nodes)
	s.nodes = append(s.nodes, branch{})
	b := branch{}
	if depth == 0 {
		for range rapid.IntRange(0, 2).Draw(t, "weights") {
			target := rapid.IntRange(0, s.targets-1).Draw(t, "target")
			b.weights = append(b.weights, weight{target, float32(at + 1)})
		}
		s.nodes[at] = b
		return at
	}
	b.mode = mode(rapid.IntRange(int(modeLEQ), int(modeNEQ)).Draw(t, "mode"))
	b.missing = rapid.Bool().Draw(t, "missing")
	b.feature = rapid.IntRange(0, 2).Draw(t, "feature")
	b.threshold = rapid.SampledFrom(numbers).Draw(t, "threshold")
	if b.mode == modeEQ || b.mode == modeNEQ {
		b.members = []float64{b.threshold}
	}
	// One side is short, so that trees are lopsided and stay small.
	deep, short := drawNode(t, s, depth-1), drawNode(t, s, min(depth-1, depth%3))
	b.yes, b.no = deep, short
	if rapid.Bool().Draw(t, "turned") {
		b.yes, b.no = short, deep
	}
	s.nodes[at] = b
	return at
}

// holds evaluates the test of b as the specification of the operators words it.
func holds(b *branch, x, threshold float64) bool {
	if math.IsNaN(x) && b.missing {
		return true
	}
	switch b.mode {
	case modeLEQ:
		return x <= threshold
	case modeLT:
		return x < threshold
	case modeGTE:
		return x >= threshold
	case modeGT:
		return x > threshold
	case modeEQ:
		return x == threshold
	}
	return x != threshold
}

// expected walks one node at a time.
func expected(s *forestSpec, row []float64, single bool) []float32 {
	scores := make([]float32, s.targets)
	for _, at := range s.roots {
		for s.nodes[at].mode != modeLeaf {
			b := &s.nodes[at]
			threshold := b.threshold
			if single {
				threshold = float64(float32(threshold))
			}
			if holds(b, row[b.feature], threshold) {
				at = b.yes
			} else {
				at = b.no
			}
		}
		for _, w := range s.nodes[at].weights {
			scores[w.target] += w.value
		}
	}
	return scores
}

type recorder [][]float32

func (r *recorder) finish(_ int, scores []float32, _ []bool) {
	*r = append(*r, append([]float32(nil), scores...))
}

// TestCompiledForestWalksLikeItsSpecification compares compiled forests with the plain walk, for all modes, missing
// values and infinities, in both precisions, with narrow and with wide nodes.
func TestCompiledForestWalksLikeItsSpecification(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawForest(t)
		e := newEnsemble(s)
		if rapid.Bool().Draw(t, "wide") {
			e.single = compileForest(s, false, 0)
			e.double = func() *forest { return compileForest(s, true, 0) }
		}
		const rows = rowBlock + 5
		values := append([]float64{math.NaN(), math.NaN()}, numbers...)
		x64 := make([]float64, rows*s.width)
		for i := range x64 {
			x64[i] = rapid.SampledFrom(values).Draw(t, "x")
		}
		for _, single := range []bool{true, false} {
			in := &value{}
			in.setShape([]int{rows, s.width})
			in.kind, in.f64 = kindDouble, x64
			if single {
				in.kind, in.f32 = kindFloat, convert[float32](x64)
			}
			var got recorder
			if err := e.run(in, rows, s.width, &got); err != nil {
				t.Fatal(err)
			}
			for r := range rows {
				row := x64[r*s.width : (r+1)*s.width]
				if single {
					row = convert[float64](in.f32[r*s.width : (r+1)*s.width])
				}
				for k, want := range expected(s, row, single) {
					if got[r][k] != want {
						t.Fatalf("single %v row %v: got %v, want %v", single, row, got[r], want)
					}
				}
			}
		}
	})
}
