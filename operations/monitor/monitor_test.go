package monitor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

var (
	start   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	classes = []string{"DOWN", "UP"}
)

// newMonitor returns a monitor over a database in memory whose flusher never ticks.
func newMonitor(t testing.TB, change func(*Config)) *Monitor {
	t.Helper()
	return overDB(t, storetest.Open(t), change)
}

func overDB(t testing.TB, db *store.DB, change func(*Config)) *Monitor {
	t.Helper()
	config := Config{
		DB: db, Every: time.Hour, Now: func() time.Time { return start },
		Classes: func(string, int) []string { return classes },
	}
	if change != nil {
		change(&config)
	}
	m, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m
}

// answer is an answer of scores that decides the given classes.
func answer(version int, role stoa.Role, decided ...int) *stoa.Answer {
	scores := make([]float32, 2*len(decided))
	for i, d := range decided {
		scores[2*i], scores[2*i+1] = 0.4, 0.4
		scores[2*i+d] = 0.6
	}
	return &stoa.Answer{Model: "price", Version: version, Role: role, Outputs: []stoa.Tensor{
		{Name: "probabilities", Datatype: stoa.FP32, Shape: []int64{int64(len(decided)), 2}, Data: scores},
	}}
}

func predict(m *Monitor, id string, a *stoa.Answer) {
	m.After(&stoa.Call{ID: id}, &stoa.Outcome{Answer: a, Status: 200})
}

func label(id string, row int, value string) Label {
	return Label{Label: stoa.Label{ID: id, Row: row, Value: value}}
}

func mustLabel(t testing.TB, m *Monitor, labels ...Label) Report {
	t.Helper()
	report, err := m.Label(t.Context(), labels, "tester")
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func judgements(t testing.TB, m *Monitor) []stoa.Judgement {
	t.Helper()
	found, err := m.Judgements(t.Context(), 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLabelJoinsPredictionStillInMemory(t *testing.T) {
	m := newMonitor(t, nil)
	predict(m, "a", answer(3, stoa.RoleChampion, 1))
	if report := mustLabel(t, m, label("a", 0, "DOWN")); report.Joined != 1 {
		t.Fatalf("report %+v; want one label joined", report)
	}
	want := stoa.Judgement{
		Seq: 1, ID: "a", Model: "price", Version: 3, Role: stoa.RoleChampion, Decision: "UP", Truth: "DOWN", At: start,
	}
	if got := judgements(t, m); len(got) != 1 || got[0] != want {
		t.Errorf("judgements %+v; want %+v", got, want)
	}
	if s := m.Stats(); s.Waiting != 0 || s.Judged != 1 || s.Queued != 0 {
		t.Errorf("stats %+v; want nothing waiting and one judged", s)
	}
}

func TestLabelReports(t *testing.T) {
	m := newMonitor(t, nil)
	predict(m, "a", answer(1, stoa.RoleChampion, 1))
	predict(m, "b", answer(1, stoa.RoleChampion, 0, 1))
	other := label("b", 1, "UP")
	other.Model = "load"
	report := mustLabel(t, m,
		label("ghost", 0, "UP"), label("a", 0, "UP"), label("a", 0, "UP"), label("a", 0, "DOWN"),
		label("b", 2, "UP"), label("b", -1, "UP"), other, label("b", 1, "UP"))
	if report.Joined != 2 {
		t.Errorf("%d joined; want a/0 and b/1", report.Joined)
	}
	if len(report.Unknown) != 4 || len(report.Duplicate) != 2 {
		t.Fatalf("report %+v; want 4 unknown and 2 duplicates", report)
	}
	for _, r := range report.Unknown {
		if r.Reason != stoa.ReasonUnknownLabel {
			t.Errorf("%+v; want %s", r, stoa.ReasonUnknownLabel)
		}
	}
	for _, r := range report.Duplicate {
		if r.Reason != stoa.ReasonDuplicateLabel {
			t.Errorf("%+v; want %s", r, stoa.ReasonDuplicateLabel)
		}
	}
	if again := mustLabel(t, m, label("a", 0, "UP")); len(again.Duplicate) != 1 || again.Joined != 0 {
		t.Errorf("the same label in another request: %+v; want a duplicate", again)
	}
	if n := len(judgements(t, m)); n != 2 {
		t.Errorf("%d judgements; want 2", n)
	}
	if w := m.Stats().Waiting; w != 1 {
		t.Errorf("%d rows wait; want b/0", w)
	}
	if report := mustLabel(t, m, label("b", 0, "UP")); report.Joined != 1 || m.Stats().Waiting != 0 {
		t.Errorf("the other row of b: %+v, %d waiting", report, m.Stats().Waiting)
	}
}

func TestTooManyLabelsAreRefused(t *testing.T) {
	m := newMonitor(t, nil)
	_, err := m.Label(t.Context(), make([]Label, MaxLabels+1), "tester")
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != stoa.ReasonTooLarge {
		t.Errorf("error %v; want %s", err, stoa.ReasonTooLarge)
	}
}

func TestShadowPairs(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", late), func(t *testing.T) {
			m := newMonitor(t, nil)
			predict(m, "a", answer(1, stoa.RoleChampion, 0, 1))
			shadow := func() { m.Shadow(&stoa.Call{ID: "a"}, answer(2, stoa.RoleChampion, 1, 1)) }
			if !late {
				shadow()
			}
			mustLabel(t, m, label("a", 0, "UP"))
			if late {
				shadow()
			}
			mustLabel(t, m, label("a", 1, "DOWN"))
			if err := m.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			type seen struct {
				row, version    int
				role            stoa.Role
				decision, truth string
			}
			want := []seen{
				{0, 1, stoa.RoleChampion, "DOWN", "UP"}, {0, 2, stoa.RoleShadow, "UP", "UP"},
				{1, 1, stoa.RoleChampion, "UP", "DOWN"}, {1, 2, stoa.RoleShadow, "UP", "DOWN"},
			}
			got := judgements(t, m)
			if len(got) != len(want) {
				t.Fatalf("%d judgements; want %d: %+v", len(got), len(want), got)
			}
			for i, j := range got {
				if s := (seen{j.Row, j.Version, j.Role, j.Decision, j.Truth}); s != want[i] || j.Seq != int64(i+1) {
					t.Errorf("judgement %d: %+v; want %+v", i, j, want[i])
				}
			}
			if w := m.Stats().Waiting; w != 0 {
				t.Errorf("%d rows wait; want 0", w)
			}
		})
	}
}

func TestNotRecorded(t *testing.T) {
	m := newMonitor(t, nil)
	m.After(&stoa.Call{ID: "a", Unrecorded: true}, &stoa.Outcome{Answer: answer(1, stoa.RoleChampion, 1)})
	m.After(&stoa.Call{ID: "b"}, &stoa.Outcome{Err: errors.New("no"), Reason: stoa.ReasonTimeout})
	m.After(&stoa.Call{ID: "c"}, &stoa.Outcome{Answer: &stoa.Answer{Role: stoa.RoleFallback}})
	m.Shadow(&stoa.Call{ID: "d", Unrecorded: true}, answer(2, stoa.RoleShadow, 1))
	if s := m.Stats(); s.Queued != 0 || s.Undecided != 0 {
		t.Errorf("stats %+v; want nothing recorded", s)
	}
	m.After(&stoa.Call{ID: "e"}, &stoa.Outcome{Answer: &stoa.Answer{Model: "price", Version: 1}})
	if s := m.Stats(); s.Undecided != 1 {
		t.Errorf("stats %+v; want one answer without a decision", s)
	}
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	m := newMonitor(t, func(c *Config) { c.Queue = 1000 })
	m.writing.Lock() // as while a disk is slow
	for i := range 100 {
		predict(m, strconv.Itoa(i), answer(1, stoa.RoleChampion, 1))
	}
	s := m.Stats()
	m.writing.Unlock()
	if s.Dropped == 0 {
		t.Errorf("stats %+v; want drops counted", s)
	}
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s.Waiting+s.Dropped != 100 {
		t.Errorf("stats %+v; want waiting and dropped to add up to 100", s)
	}
}

func TestWaitingRowsAreBounded(t *testing.T) {
	now := start
	m := newMonitor(t, func(c *Config) {
		c.Pending, c.Wait = 1000, time.Hour
		c.Now = func() time.Time { return now }
	})
	for i := range 5000 {
		predict(m, strconv.Itoa(i), answer(1, stoa.RoleChampion, 1))
	}
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := m.Stats()
	if s.Waiting > 1000 || s.Waiting <= 1000-segmentSize || s.Waiting+s.Evicted != 5000 || s.Expired != 0 {
		t.Errorf("stats %+v; want at most a segment less than 1000 waiting and the others evicted", s)
	}
	first := int(5000 - s.Waiting)
	report := mustLabel(t, m, label(strconv.Itoa(first-1), 0, "UP"), label(strconv.Itoa(first), 0, "UP"))
	if report.Joined != 1 || len(report.Unknown) != 1 || report.Unknown[0].ID != strconv.Itoa(first-1) {
		t.Errorf("report %+v; want the newest kept", report)
	}
	now = now.Add(2 * time.Hour)
	predict(m, "new", answer(1, stoa.RoleChampion, 1))
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The new one may share a segment with some that are older, and keeps them.
	if s := m.Stats(); s.Waiting < 1 || s.Waiting > segmentSize || s.Waiting+s.Evicted+s.Expired+1 != 5001 {
		t.Errorf("stats %+v; want whole segments expired", s)
	}
	now = now.Add(2 * time.Hour)
	if err := m.flush(t.Context(), func(ctx context.Context, w *work) error { return w.makeRoom(ctx) }); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s.Waiting != 0 {
		t.Errorf("stats %+v; want all expired", s)
	}
}

func TestAcknowledgedSurvivesReopening(t *testing.T) {
	place := storetest.Place(t)
	open := func() (*store.DB, *Monitor) {
		db, err := storetest.OpenAt(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		m, err := New(t.Context(), Config{DB: db, Classes: func(string, int) []string { return classes }})
		if err != nil {
			t.Fatal(err)
		}
		return db, m
	}
	db, m := open()
	predict(m, "a", answer(1, stoa.RoleChampion, 1))
	predict(m, "b", answer(1, stoa.RoleChampion, 1))
	mustLabel(t, m, label("a", 0, "UP"))
	// A crash: the monitor is left without Close.
	m.stop()
	<-m.stopped
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, m = open()
	defer db.Close()
	defer m.Close(context.Background())
	if got := judgements(t, m); len(got) != 1 || got[0].Model != "price" {
		t.Errorf("judgements %+v; want the one acknowledged", got)
	}
	report := mustLabel(t, m, label("b", 0, "UP"), label("a", 0, "UP"))
	if report.Joined != 1 || len(report.Duplicate) != 1 {
		t.Errorf("report %+v; want b joined and a known", report)
	}
	if s := m.Stats(); s.Waiting != 0 || s.Judged != 2 {
		t.Errorf("stats %+v; want totals to go on", s)
	}
}

func TestFailedWriteLosesNothing(t *testing.T) {
	m := newMonitor(t, nil)
	for i := range 2*chunk + 10 {
		predict(m, strconv.Itoa(i), answer(1, stoa.RoleChampion, 1))
	}
	broken := errors.New("disk full")
	m.writing.Lock()
	m.taken = m.queue.take()
	m.writing.Unlock()
	// The second transaction fails; the first one and its effects stay, the rest is retried.
	calls := 0
	err := m.flush(t.Context(), func(context.Context, *work) error { calls++; return broken })
	if !errors.Is(err, broken) || calls != 1 {
		t.Fatalf("error %v after %d calls; want the injected one", err, calls)
	}
	if w := m.Stats().Waiting; w != 2*chunk {
		t.Errorf("%d rows wait after the failure; want the %d committed", w, 2*chunk)
	}
	predict(m, "later", answer(2, stoa.RoleCanary, 1))
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s.Waiting != 2*chunk+11 || s.Dropped != 0 {
		t.Errorf("stats %+v; want %d waiting", s, 2*chunk+11)
	}
	counts, err := m.Counts(t.Context(), "price", start)
	if err != nil || len(counts) != 2 || counts[0].N != 2*chunk+10 || counts[1].N != 1 {
		t.Errorf("counts %+v, %v; want every prediction counted once", counts, err)
	}
}

func TestAccuracy(t *testing.T) {
	m := newMonitor(t, nil)
	for i := range 10 {
		id := strconv.Itoa(i)
		predict(m, id, answer(1, stoa.RoleChampion, 1))
		m.Shadow(&stoa.Call{ID: id}, answer(2, stoa.RoleShadow, 0))
		truth := "UP"
		if i < 3 {
			truth = "DOWN"
		}
		mustLabel(t, m, label(id, 0, truth))
	}
	all, err := m.Accuracy(t.Context(), "price", start)
	if err != nil || len(all) != 2 {
		t.Fatalf("accuracy %+v, %v; want two series", all, err)
	}
	if a := all[0]; a.Version != 1 || a.Labels != 10 || a.Errors != 3 || a.Value != 0.7 {
		t.Errorf("champion %+v; want 3 errors of 10", a)
	}
	if a := all[1]; a.Version != 2 || a.Role != stoa.RoleShadow || a.Errors != 7 {
		t.Errorf("shadow %+v; want 7 errors of 10", a)
	}
	recent, err := m.Recent(t.Context(), "price", 4) // the last two labels, two roles each
	if err != nil || len(recent) != 2 || recent[0].Labels != 2 || recent[0].Errors != 0 || recent[1].Errors != 2 {
		t.Errorf("recent %+v, %v; want 0 and 2 errors of 2", recent, err)
	}
	if none, err := m.Accuracy(t.Context(), "price", start.Add(2*time.Hour)); err != nil || len(none) != 0 {
		t.Errorf("accuracy of a later hour %+v, %v; want none", none, err)
	}
}

func TestJudgementsAreKeptUpToTheLimit(t *testing.T) {
	m := newMonitor(t, func(c *Config) { c.Keep = 5 })
	for i := range 12 {
		predict(m, strconv.Itoa(i), answer(1, stoa.RoleChampion, 1))
		mustLabel(t, m, label(strconv.Itoa(i), 0, "UP"))
	}
	got := judgements(t, m)
	if len(got) != 5 || got[0].Seq != 8 || got[4].Seq != 12 {
		t.Errorf("judgements %+v; want numbers 8 to 12", got)
	}
	if page, err := m.Judgements(t.Context(), 9, 2); err != nil || len(page) != 2 || page[0].Seq != 10 {
		t.Errorf("page %+v, %v; want numbers 10 and 11", page, err)
	}
}

func TestStates(t *testing.T) {
	m := newMonitor(t, nil)
	states := m.States()
	type cursor struct{ Seq int64 }
	failed := errors.New("crash")
	write := func(seq int64, then error) error {
		return m.config.DB.Write(t.Context(), func(tx *store.Tx) error {
			if err := states.PutTx(t.Context(), tx, "cursor", cursor{seq}); err != nil {
				return err
			}
			return then
		})
	}
	var got cursor
	if found, err := states.Get(t.Context(), "cursor", &got); found || err != nil {
		t.Errorf("found %t, %v; want no state yet", found, err)
	}
	if err := write(7, nil); err != nil {
		t.Fatal(err)
	}
	if err := write(9, failed); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if found, err := states.Get(t.Context(), "cursor", &got); !found || err != nil || got.Seq != 7 {
		t.Errorf("state %+v, %t, %v; want the committed 7", got, found, err)
	}
}

func TestFlusherWritesByItself(t *testing.T) {
	m := newMonitor(t, func(c *Config) { c.Every = time.Millisecond })
	predict(m, "a", answer(1, stoa.RoleChampion, 1))
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for m.Stats().Waiting == 0 {
		select {
		case <-deadline.C:
			t.Fatal("the prediction was not written")
		case <-tick.C:
		}
	}
}
