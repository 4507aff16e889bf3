package ledger_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func memory(t testing.TB) *store.DB {
	t.Helper()
	return storetest.Open(t)
}

func open(t testing.TB, db *store.DB, opts ...ledger.Option) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(t.Context(), db, discard(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func proposal(key string) ledger.Proposal {
	return ledger.Proposal{
		Key: key, Kind: ledger.KindRetrain, Subject: "price", Payload: map[string]int{"rows": 7}, Why: "it decays",
		By: "monitor",
	}
}

func propose(t testing.TB, l *ledger.Ledger, key string) ledger.Entry {
	t.Helper()
	entry, created, err := l.Propose(t.Context(), proposal(key))
	if err != nil || !created {
		t.Fatalf("propose %s: created %v, %v", key, created, err)
	}
	return entry
}

// must is for moves that have to succeed.
func must(t testing.TB) func(ledger.Entry, error) ledger.Entry {
	return func(entry ledger.Entry, err error) ledger.Entry {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return entry
	}
}

func reason(err error) stoa.Reason {
	var refusal *stoa.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}

func sound(t testing.TB, l *ledger.Ledger) {
	t.Helper()
	report, err := l.Verify(t.Context())
	if err != nil || len(report.Broken) != 0 {
		t.Fatalf("verify: %+v, %v", report, err)
	}
}

func TestLifeOfAnEntry(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	l := open(t, memory(t), ledger.WithClock(func() time.Time { return now }))
	entry := propose(t, l, "a")
	if entry.State != ledger.StateProposed || string(entry.Payload) != `{"rows":7}` || entry.ProposedBy != "monitor" {
		t.Errorf("proposed: %+v", entry)
	}
	want := now.UTC().Truncate(time.Microsecond)
	if !entry.CreatedAt.Equal(want) || entry.CreatedAt.Location() != time.UTC {
		t.Errorf("created at %v, want %v", entry.CreatedAt, want)
	}
	move := must(t)
	move(l.Approve(t.Context(), entry.ID, "ada", "go on"))
	move(l.Start(t.Context(), entry.ID))
	if err := l.Step(t.Context(), entry.ID, "trained", map[string]int{"rounds": 3}); err != nil {
		t.Fatal(err)
	}
	move(l.Start(t.Context(), entry.ID))
	move(l.Finish(t.Context(), entry.ID, json.RawMessage(`{"version":2}`)))
	got := move(l.Get(t.Context(), entry.ID))
	if got.State != ledger.StateDone || got.DecidedBy != "ada" || got.Decision != "go on" || got.Why != "it decays" ||
		string(got.Result) != `{"version":2}` {
		t.Errorf("done: %+v", got)
	}
	steps, err := l.Steps(t.Context(), entry.ID)
	if err != nil || len(steps) != 1 || steps[0].Name != "trained" || string(steps[0].Data) != `{"rounds":3}` {
		t.Errorf("steps %+v, %v", steps, err)
	}
	events, err := l.Events(t.Context(), 0, 0)
	if err != nil || len(events) != 6 || events[5].What != "entry.done" || events[5].Prev != events[4].Hash {
		t.Errorf("events %+v, %v", events, err)
	}
	if page, err := l.Events(t.Context(), 2, 3); err != nil || len(page) != 3 || page[0].Seq != 3 {
		t.Errorf("page %+v, %v", page, err)
	}
	sound(t, l)
}

// moves by name, each tried in every state.
func moves(t *testing.T, l *ledger.Ledger) map[string]func(id int64) error {
	drop := func(_ ledger.Entry, err error) error { return err }
	return map[string]func(int64) error{
		"approve": func(id int64) error { return drop(l.Approve(t.Context(), id, "ada", "")) },
		"reject":  func(id int64) error { return drop(l.Reject(t.Context(), id, "ada", "")) },
		"start":   func(id int64) error { return drop(l.Start(t.Context(), id)) },
		"step":    func(id int64) error { return l.Step(t.Context(), id, "s", nil) },
		"finish":  func(id int64) error { return drop(l.Finish(t.Context(), id, nil)) },
		"fail":    func(id int64) error { return drop(l.Fail(t.Context(), id, errors.New("no"))) },
	}
}

func TestMovesFromEveryState(t *testing.T) {
	paths := map[ledger.State][]string{
		ledger.StateProposed: {}, ledger.StateApproved: {"approve"}, ledger.StateRejected: {"reject"},
		ledger.StateRunning: {"approve", "start"}, ledger.StateDone: {"approve", "start", "finish"},
		ledger.StateFailed: {"approve", "start", "fail"},
	}
	allowed := map[ledger.State]map[string]ledger.State{
		ledger.StateProposed: {"approve": ledger.StateApproved, "reject": ledger.StateRejected},
		ledger.StateApproved: {"start": ledger.StateRunning},
		ledger.StateRunning: {"start": ledger.StateRunning, "step": ledger.StateRunning, "finish": ledger.StateDone,
			"fail": ledger.StateFailed},
	}
	l := open(t, memory(t))
	all := moves(t, l)
	for state, path := range paths {
		for name, move := range all {
			entry := propose(t, l, string(state)+" "+name)
			for _, step := range path {
				if err := all[step](entry.ID); err != nil {
					t.Fatal(err)
				}
			}
			want, may := allowed[state][name]
			if err := move(entry.ID); may && err != nil || !may && reason(err) != stoa.ReasonConflict {
				t.Errorf("%s when %s: %v", name, state, err)
			}
			if !may {
				want = state
			}
			if got := must(t)(l.Get(t.Context(), entry.ID)); got.State != want {
				t.Errorf("%s when %s leads to %s, want %s", name, state, got.State, want)
			}
		}
	}
	for name, move := range all {
		if err := move(9999); reason(err) != stoa.ReasonNotFound {
			t.Errorf("%s of an unknown entry: %v", name, err)
		}
	}
	if _, err := l.Get(t.Context(), 9999); reason(err) != stoa.ReasonNotFound {
		t.Errorf("get an unknown entry: %v", err)
	}
	sound(t, l)
}

func TestConcurrentProposalsWithTheSameKey(t *testing.T) {
	db, err := storetest.OpenAt(t.Context(), storetest.Place(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	l := open(t, db)
	var group sync.WaitGroup
	results := make(chan bool, 32)
	for range 32 {
		group.Go(func() {
			_, created, err := l.Propose(t.Context(), proposal("same"))
			if err != nil {
				t.Error(err)
			}
			results <- created
		})
	}
	group.Wait()
	close(results)
	made := 0
	for created := range results {
		if created {
			made++
		}
	}
	if events, err := l.Events(t.Context(), 0, 0); made != 1 || len(events) != 1 || err != nil {
		t.Errorf("%d were created, %d events, %v", made, len(events), err)
	}
}

func TestWhatCannotBeProposedOrNoted(t *testing.T) {
	db := memory(t)
	l := open(t, db)
	propose(t, l, "a")
	other := proposal("a")
	other.Subject = "another"
	nobody := proposal("b")
	nobody.By = ""
	for name, test := range map[string]struct {
		p    ledger.Proposal
		want stoa.Reason
	}{
		"the key of another change": {other, stoa.ReasonConflict},
		"by nobody":                 {nobody, stoa.ReasonInvalid},
		"nothing":                   {ledger.Proposal{}, stoa.ReasonInvalid},
	} {
		if _, created, err := l.Propose(t.Context(), test.p); created || reason(err) != test.want {
			t.Errorf("%s: created %v, %v", name, created, err)
		}
	}
	if _, err := l.Approve(t.Context(), 1, "", ""); reason(err) != stoa.ReasonInvalid {
		t.Errorf("approved by nobody: %v", err)
	}
	for _, act := range []ledger.Act{{}, {Actor: "ada"}, {What: "x"}, {Actor: "ada", What: "entry.approved", Entry: 1}} {
		err := note(t, db, l, act)
		if reason(err) != stoa.ReasonInvalid {
			t.Errorf("%+v: %v", act, err)
		}
	}
	sound(t, l)
}

func note(t testing.TB, db *store.DB, l *ledger.Ledger, act ledger.Act) error {
	return db.Write(t.Context(), func(tx *store.Tx) error { return l.Note(t.Context(), tx, act) })
}

func TestList(t *testing.T) {
	l := open(t, memory(t))
	first, second := propose(t, l, "a"), propose(t, l, "b")
	must(t)(l.Approve(t.Context(), second.ID, "ada", ""))
	rollout := ledger.Proposal{Key: "c", Kind: ledger.KindRollout, Subject: "other", By: "ada"}
	third, _, err := l.Propose(t.Context(), rollout)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		filter ledger.Filter
		want   []int64
	}{
		"all":     {ledger.Filter{}, []int64{first.ID, second.ID, third.ID}},
		"kind":    {ledger.Filter{Kind: ledger.KindRollout}, []int64{third.ID}},
		"subject": {ledger.Filter{Subject: "price"}, []int64{first.ID, second.ID}},
		"states":  {ledger.Filter{States: []ledger.State{"approved", "running"}}, []int64{second.ID}},
		"page":    {ledger.Filter{After: first.ID, Limit: 1}, []int64{second.ID}},
		"none":    {ledger.Filter{Subject: "price", Kind: ledger.KindRollout}, nil},
	} {
		entries, err := l.List(t.Context(), test.filter)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, entry := range entries {
			ids = append(ids, entry.ID)
		}
		if len(ids) != len(test.want) {
			t.Errorf("%s: %v, want %v", name, ids, test.want)
			continue
		}
		for i := range ids {
			if ids[i] != test.want[i] {
				t.Errorf("%s: %v, want %v", name, ids, test.want)
			}
		}
	}
}

func TestRolledBackTransactionLeavesNoTrace(t *testing.T) {
	db := memory(t)
	path := filepath.Join(t.TempDir(), ledger.AnchorFile)
	l := open(t, db, ledger.WithAnchor(path))
	propose(t, l, "a")
	failure := errors.New("no")
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		for _, key := range []string{"b", "c", "d"} {
			if _, _, err := l.ProposeTx(t.Context(), tx, proposal(key)); err != nil {
				return err
			}
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Fatal(err)
	}
	sound(t, l)
	propose(t, l, "e")
	sound(t, open(t, db, ledger.WithAnchor(path)))
}

func BenchmarkPropose(b *testing.B) {
	dir := b.TempDir()
	db, err := storetest.OpenAt(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	l := open(b, db, ledger.WithAnchor(filepath.Join(dir, ledger.AnchorFile)))
	for i := 0; b.Loop(); i++ {
		if _, _, err := l.Propose(b.Context(), proposal(time.Unix(int64(i), 0).String())); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAnyCauseOfFailureCanBeKept(t *testing.T) {
	l := open(t, storetest.Open(t))
	entry := propose(t, l, "k")
	must(t)(l.Approve(t.Context(), entry.ID, "ada", ""))
	must(t)(l.Start(t.Context(), entry.ID))
	failed := must(t)(l.Fail(t.Context(), entry.ID, errors.New("exit status 1: \xff\x00 core")))
	if want := "exit status 1: \uFFFD\uFFFD core"; failed.Error != want {
		t.Errorf("the entry's error is %q, want %q", failed.Error, want)
	}
	sound(t, l)
}
