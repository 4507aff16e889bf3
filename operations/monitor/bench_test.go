package monitor

import (
	"fmt"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store/storetest"
)

// BenchmarkAfter is the cost of recording in the request path.
func BenchmarkAfter(b *testing.B) {
	m := newMonitor(b, func(c *Config) { c.Queue = 1 << 30 })
	call := &stoa.Call{ID: "0190a7f1-3c2b-7def-8a2b-0123456789ab"}
	outcome := &stoa.Outcome{Answer: answer(1, stoa.RoleChampion, 1)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%50_000 == 0 { // what the flusher does, without its disk
			if taken := m.queue.take(); taken != nil {
				m.queue.give(taken)
			}
		}
		m.After(call, outcome)
	}
}

// BenchmarkFlush is the cost of writing one prediction, on disk and with the table at its bound.
func BenchmarkFlush(b *testing.B) {
	db, err := storetest.OpenAt(b.Context(), storetest.Place(b))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	m := overDB(b, db, func(c *Config) { c.Pending, c.Queue, c.Every = 50_000, 64<<20, time.Hour })
	outcome := &stoa.Outcome{Answer: answer(1, stoa.RoleChampion, 1)}
	n := 0
	fill := func(count int) {
		for range count {
			n++
			m.After(&stoa.Call{ID: fmt.Sprintf("%016x-%08x", uint64(n)*0x9e3779b97f4a7c15, n)}, outcome)
		}
		if err := m.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	fill(60_000)
	b.ResetTimer()
	for range b.N / 5000 {
		fill(5000)
	}
	fill(b.N % 5000)
	if d := m.Stats().Dropped; d > 0 {
		b.Fatalf("%d dropped", d)
	}
}

// BenchmarkLabel is the cost of joining one label, in batches of 48 as half-hours of a day.
func BenchmarkLabel(b *testing.B) {
	db, err := storetest.OpenAt(b.Context(), storetest.Place(b))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	m := overDB(b, db, nil)
	outcome := &stoa.Outcome{Answer: answer(1, stoa.RoleChampion, 1)}
	n := 0
	for b.Loop() {
		labels := make([]Label, 48)
		for i := range labels {
			n++
			id := fmt.Sprint("id-", n)
			m.After(&stoa.Call{ID: id}, outcome)
			labels[i] = label(id, 0, "UP")
		}
		if r := mustLabel(b, m, labels...); r.Joined != 48 {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(48*b.N), "ns/label")
}

// BenchmarkFold is the cost of one judgement in the detector.
func BenchmarkFold(b *testing.B) {
	d, err := NewDetector("price", 1, DetectorOptions{ERT: 1e12, Reference: &Rate{Value: 0.2}})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		d.Observe(i%5 == 0, start)
	}
}
