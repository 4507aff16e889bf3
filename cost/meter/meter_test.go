package meter

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/sqlite"
	"github.com/stoaproject/stoa/store/storetest"
)

func openDB(t testing.TB) *store.DB {
	t.Helper()
	return storetest.Open(t)
}

// open makes a meter that does not flush by itself within the test.
func open(t testing.TB, db *store.DB, cells int) *Meter {
	t.Helper()
	m, err := New(context.Background(), Config{DB: db, Logger: slog.New(slog.DiscardHandler), Every: time.Hour, Cells: cells})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

var noon = time.Date(1998, 5, 4, 12, 30, 0, 0, time.UTC)

func request(caller string, rows int) *stoa.Call {
	return &stoa.Call{Caller: stoa.Caller{ID: caller}, Rows: rows, Received: noon}
}

func answer(model string, version int, compute time.Duration) *stoa.Outcome {
	return &stoa.Outcome{Status: 200, Answer: &stoa.Answer{Model: model, Version: version, Compute: compute}}
}

func usage(t testing.TB, m *Meter) string {
	t.Helper()
	all, err := m.Usage(context.Background(), noon)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, u := range all {
		fmt.Fprintf(&b, "%s %s %s@%d %d/%d %d rows %v\n", u.Hour.Format("15h"), u.Caller, u.Model, u.Version, u.Failed,
			u.Requests, u.Rows, u.Compute)
	}
	return b.String()
}

func TestUsageIsTheSameBeforeAndAfterAFlushAndARestart(t *testing.T) {
	db := openDB(t)
	m := open(t, db, 0)
	m.After(request("ana", 3), answer("price", 1, time.Millisecond))
	m.After(request("ana", 2), answer("price", 1, time.Millisecond))
	m.After(request("ana", 1), answer("price", 2, time.Second))
	m.After(request("bob", 9), &stoa.Outcome{Status: 503, Reason: stoa.ReasonNoCandidate})
	later := request("ana", 1)
	later.Received = noon.Add(time.Hour)
	m.After(later, answer("price", 2, time.Second))
	want := "12h ana price@1 0/2 5 rows 2ms\n12h ana price@2 0/1 1 rows 1s\n12h bob @0 1/1 0 rows 0s\n" +
		"13h ana price@2 0/1 1 rows 1s\n"
	if got := usage(t, m); got != want {
		t.Errorf("before the flush:\n%swant\n%s", got, want)
	}
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := usage(t, m); got != want {
		t.Errorf("after the flush:\n%swant\n%s", got, want)
	}
	if got := m.cells.Load(); got != 0 {
		t.Errorf("%d cells after a flush", got)
	}
	m.After(request("bob", 1), answer("price", 2, time.Second))
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want = strings.Replace(want, "13h", "12h bob price@2 0/1 1 rows 1s\n13h", 1)
	if got := usage(t, open(t, db, 0)); got != want {
		t.Errorf("after the restart:\n%swant\n%s", got, want)
	}
	if all, err := m.Usage(t.Context(), noon.Add(time.Hour)); err != nil || len(all) != 1 {
		t.Errorf("since the next hour: %+v, %v", all, err)
	}
}

func TestWhatTheDatabaseRefusesIsKept(t *testing.T) {
	db := openDB(t)
	var log strings.Builder
	m, err := New(t.Context(), Config{DB: db, Logger: slog.New(slog.NewTextHandler(&log, nil)), Every: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	m.After(request("ana", 3), answer("price", 1, time.Millisecond))
	before := usage(t, m)
	refused, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if err := m.Flush(refused); err == nil {
			t.Fatal("the flush succeeded")
		}
		if got := usage(t, m); got != before {
			t.Errorf("after the failure:\n%swant\n%s", got, before)
		}
	}
	m.After(request("ana", 3), answer("price", 1, time.Millisecond))
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := usage(t, m), "12h ana price@1 0/2 6 rows 2ms\n"; got != want {
		t.Errorf("after it recovered:\n%swant\n%s", got, want)
	}
	if strings.Count(log.String(), "cannot be written") != 1 || strings.Count(log.String(), "written again") != 1 {
		t.Errorf("log:\n%s", &log)
	}
}

func TestACrashLosesAtMostOneInterval(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	synctest.Test(t, func(t *testing.T) {
		db, err := sqlite.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		m, err := New(context.Background(), Config{DB: db, Logger: slog.New(slog.DiscardHandler), Every: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		m.After(request("ana", 1), answer("price", 1, 0))
		tick, cancel := context.WithTimeout(context.Background(), 5*time.Second+time.Millisecond)
		defer cancel()
		<-tick.Done()
		m.flushing.Lock() // a flush under way ends first
		stored, err := m.stored(context.Background(), 0)
		m.flushing.Unlock()
		if err != nil || len(stored) != 1 {
			t.Errorf("%d rows stored after one interval, %v", len(stored), err)
		}
		if err := m.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCellsAreBounded(t *testing.T) {
	const cells = 8
	m := open(t, openDB(t), cells)
	for i := range 100 {
		m.After(request(fmt.Sprintf("caller-%d", i), 1), answer("price", 1, time.Second))
	}
	if got := m.cells.Load(); got > cells+1 {
		t.Errorf("%d cells", got)
	}
	if got := m.Overflowed(); got != 100-cells {
		t.Errorf("%d overflowed", got)
	}
	all, err := m.Usage(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, u := range all {
		total += u.Requests
		if u.Caller == Other && (u.Requests != 100-cells || u.Rows != 100-cells || u.Model != "") {
			t.Errorf("other = %+v", u)
		}
	}
	if total != 100 {
		t.Errorf("total %d", total)
	}
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.After(request("late", 1), answer("price", 1, time.Second))
	if got := m.Overflowed(); got != 100-cells {
		t.Errorf("no room after a flush: %d overflowed", got)
	}
}

func TestNothingIsLostOrCountedTwiceWhileFlushing(t *testing.T) {
	db := openDB(t)
	m := open(t, db, 0)
	const callers, each = 4, 3000
	var counting, flushing sync.WaitGroup
	done := make(chan struct{})
	for i := range callers {
		counting.Go(func() {
			for j := range each {
				m.After(request(fmt.Sprintf("c%d", i), 2), answer("price", j%3, time.Microsecond))
			}
		})
	}
	flushing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := m.Flush(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	counting.Wait()
	close(done)
	flushing.Wait()
	all, err := m.Usage(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	var got counts
	for _, u := range all {
		got = got.plus(counts{u.Requests, u.Failed, u.Rows, int64(u.Compute)})
	}
	if want := (counts{callers * each, 0, 2 * callers * each, callers * each * 1000}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The meter agrees with a map, whatever the order of calls, flushes and failures.
func TestMeterAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db := openDB(t)
		defer db.Close()
		m := open(t, db, 0)
		refused, cancel := context.WithCancel(context.Background())
		cancel()
		want := make(map[cellKey]counts)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				if err := m.Flush(context.Background()); err != nil {
					rt.Fatal(err)
				}
			case 1:
				_ = m.Flush(refused)
			default:
				key := cellKey{caller: rapid.SampledFrom([]string{"", "a", "b"}).Draw(rt, "caller"), hour: noon.Unix() / 3600}
				call := request(key.caller, rapid.IntRange(0, 9).Draw(rt, "rows"))
				if rapid.Bool().Draw(rt, "fails") {
					m.After(call, &stoa.Outcome{Reason: stoa.ReasonTimeout})
					want[key] = want[key].plus(counts{1, 1, 0, 0})
					continue
				}
				key.model, key.version = "m", rapid.IntRange(1, 3).Draw(rt, "version")
				m.After(call, answer(key.model, key.version, 7))
				want[key] = want[key].plus(counts{1, 0, int64(call.Rows), 7})
			}
		}
		all, err := m.Usage(context.Background(), noon)
		if err != nil {
			rt.Fatal(err)
		}
		got := make(map[cellKey]counts)
		for _, u := range all {
			got[cellKey{u.Caller, u.Model, u.Version, u.Hour.Unix() / 3600}] =
				counts{u.Requests, u.Failed, u.Rows, int64(u.Compute)}
		}
		if !maps.Equal(got, want) {
			rt.Errorf("got %+v\nwant %+v", got, want)
		}
		if err := m.Close(context.Background()); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestCountingDoesNotAllocate(t *testing.T) {
	m := open(t, openDB(t), 0)
	call, outcome := request("key-0123456789abcdef", 1), answer("price-direction", 12, time.Microsecond)
	m.After(call, outcome)
	if n := testing.AllocsPerRun(1000, func() { m.After(call, outcome) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAfter(b *testing.B) {
	m := open(b, openDB(b), 0)
	for i := range 100 {
		m.After(request(fmt.Sprintf("key-%d", i), 1), answer("price-direction", 12, 0))
	}
	call, outcome := request("key-0123456789abcdef", 1), answer("price-direction", 12, time.Microsecond)
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.After(call, outcome)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m.After(call, outcome)
			}
		})
	})
}
