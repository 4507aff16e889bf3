package runtime

import (
	"math/rand/v2"
	"testing"

	"github.com/stoaproject/stoa"
)

// BenchmarkRun measures the 100-tree model of depth 6 that bench/onnxruntime compares with ONNX Runtime.
func BenchmarkRun(b *testing.B) {
	artifact, _, _ := readCorpus(b, "bench_100x6")
	m, err := Load(artifact)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		rows int
	}{{"rows=1", 1}, {"rows=8", 8}, {"rows=1000", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			// Rows change from run to run, so that no branch predictor can learn them by heart.
			const pool = 64
			var inputs [pool][]stoa.Tensor
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range inputs {
				x := make([]float32, c.rows*30)
				for k := range x {
					x[k] = float32(rng.NormFloat64())
				}
				inputs[i] = []stoa.Tensor{{
					Name: "X", Datatype: stoa.FP32, Shape: []int64{int64(c.rows), 30}, Data: x,
				}}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := m.Run(inputs[i%pool], nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(c.rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
