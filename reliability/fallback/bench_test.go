package fallback

import (
	"context"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
)

// BenchmarkInfer measures what the policy adds to a target that answers at once: inline without a timeout, and on a
// goroutine of the pool with one. Both allocate the answer.
func BenchmarkInfer(b *testing.B) {
	for name, timeout := range map[string]time.Duration{"inline": -1, "timeout": time.Second} {
		b.Run(name, func(b *testing.B) {
			p := policy(b, Config{Candidates: []Candidate{
				{Name: "a", Target: answering("a"), Weight: 90, Timeout: timeout},
				{Name: "b", Target: answering("b"), Weight: 10, Timeout: timeout},
			}})
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			call := &stoa.Call{ID: "7f0c8a52b1a94d0e8f0c8a52b1a94d0e-000000000000002a"}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Infer(ctx, call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkInferParallel(b *testing.B) {
	p := policy(b, Config{Candidates: []Candidate{{Name: "a", Target: answering("a"), Timeout: time.Second}}})
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Infer(ctx, &stoa.Call{ID: "a"}); err != nil {
				b.Error(err)
			}
		}
	})
}
