package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

// tamper changes the tables behind the ledger's back.
func tamper(ctx context.Context, db *store.DB, statement string, args ...any) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	})
}

// filled is a ledger with three entries, one of them done, and a note: events 1 to 8.
func filled(t *testing.T) (*store.DB, *ledger.Ledger, string) {
	t.Helper()
	db := memory(t)
	path := filepath.Join(t.TempDir(), ledger.AnchorFile)
	l := open(t, db, ledger.WithAnchor(path))
	first := propose(t, l, "a")
	must(t)(l.Approve(t.Context(), first.ID, "ada", "go on"))
	must(t)(l.Start(t.Context(), first.ID))
	if err := l.Step(t.Context(), first.ID, "trained", nil); err != nil {
		t.Fatal(err)
	}
	must(t)(l.Finish(t.Context(), first.ID, nil))
	propose(t, l, "b")
	if err := note(t, db, l, ledger.Act{Actor: "ada", What: "key.create", Subject: "ci"}); err != nil {
		t.Fatal(err)
	}
	propose(t, l, "c")
	sound(t, l)
	return db, l, path
}

func TestTamperingIsFoundAndLocated(t *testing.T) {
	const copyEvent = "INSERT INTO ledger_event SELECT %d, at, what, actor, entry, kind, subject, key, step, why, " +
		"error, data, prev, hash FROM ledger_event WHERE seq = %d"
	for name, test := range map[string]struct {
		statements []string
		seq        int64
		what       string
	}{
		"edited":          {[]string{"UPDATE ledger_event SET actor = 'eve' WHERE seq = 2"}, 2, "edited"},
		"moved text":      {[]string{"UPDATE ledger_event SET actor = 'adago', why = ' on' WHERE seq = 2"}, 2, "edited"},
		"unreadable":      {[]string{"UPDATE ledger_event SET at = 'noon' WHERE seq = 2"}, 2, "cannot be read"},
		"deleted":         {[]string{"DELETE FROM ledger_event WHERE seq = 4"}, 4, "missing"},
		"several deleted": {[]string{"DELETE FROM ledger_event WHERE seq IN (3, 4)"}, 3, "3 to 4 are missing"},
		"first deleted":   {[]string{"DELETE FROM ledger_event WHERE seq = 1"}, 1, "missing"},
		"last deleted":    {[]string{"DELETE FROM ledger_event WHERE seq = 8"}, 8, "cut off"},
		"all deleted":     {[]string{"DELETE FROM ledger_event"}, 1, "cut off"},
		"put in at end":   {[]string{fmt.Sprintf(copyEvent, 9, 7)}, 9, "does not follow"},
		"put in before":   {[]string{fmt.Sprintf(copyEvent, 0, 7)}, 0, "no place"},
		"entry edited":    {[]string{"UPDATE ledger_entry SET state = 'approved' WHERE id = 6"}, 6, "state is approved"},
		"entry deleted":   {[]string{"DELETE FROM ledger_entry WHERE id = 6"}, 6, "not stored"},
		"head deleted":    {[]string{"DELETE FROM ledger_head"}, 8, "0 heads"},
		"head set back":   {[]string{"UPDATE ledger_head SET seq = 7"}, 8, "put in"},
		"head of nothing": {[]string{"UPDATE ledger_head SET hash = 'x'"}, 8, "another hash"},
		"cut with its head": {[]string{
			"DELETE FROM ledger_event WHERE seq = 8", "DELETE FROM ledger_entry WHERE id = 8",
			"UPDATE ledger_head SET seq = 7, hash = (SELECT hash FROM ledger_event WHERE seq = 7)",
		}, 0, "event 8, which is missing"},
		"reordered": {[]string{
			"UPDATE ledger_event SET seq = -1 WHERE seq = 6", "UPDATE ledger_event SET seq = 6 WHERE seq = 7",
			"UPDATE ledger_event SET seq = 7 WHERE seq = -1",
		}, 6, "edited"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "unreadable" && os.Getenv(storetest.PostgresVariable) != "" {
				t.Skip("PostgreSQL keeps numbers only in a column of numbers")
			}
			db, l, _ := filled(t)
			for _, statement := range test.statements {
				if err := tamper(t.Context(), db, statement); err != nil {
					t.Fatal(err)
				}
			}
			report, err := l.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, broken := range report.Broken {
				if broken.Seq == test.seq && strings.Contains(broken.What, test.what) {
					return
				}
			}
			t.Errorf("want %q at %d, found %+v", test.what, test.seq, report.Broken)
		})
	}
}

func TestAnchorFile(t *testing.T) {
	db, l, path := filled(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	events, err := l.Events(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	behind := fmt.Sprintf(`{"seq":5,"hash":%q}`, events[4].Hash)
	for name, test := range map[string]struct {
		content string
		good    bool
	}{
		"as written":        {string(whole), true},
		"behind by a crash": {behind, true},
		"another hash":      {strings.Replace(behind, `"hash":"`, `"hash":"0`, 1), false},
		"beyond the chain":  {`{"seq":9,"hash":"x"}`, false},
		"empty":             {"", false},
		"damaged":           {"{", false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			report, err := ledger.Verify(t.Context(), db, ledger.WithAnchor(path))
			if err != nil || (len(report.Broken) == 0) != test.good {
				t.Fatalf("report %+v, %v", report, err)
			}
			// Opening brings a good anchor up to date and leaves a bad one as evidence, also after more writing.
			reopened := open(t, db, ledger.WithAnchor(path))
			propose(t, reopened, "after "+name)
			report, err = reopened.Verify(t.Context())
			if err != nil || (len(report.Broken) == 0) != test.good {
				t.Errorf("after opening: %+v, %v", report, err)
			}
		})
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if report, err := open(t, db, ledger.WithAnchor(path)).Verify(t.Context()); err != nil || len(report.Broken) != 1 {
		t.Errorf("without its file: %+v, %v", report, err)
	}
}

func TestReanchor(t *testing.T) {
	db, l, path := filled(t)
	if err := l.Reanchor(t.Context(), "ada", "for fun"); reason(err) != stoa.ReasonConflict {
		t.Errorf("an intact anchor is given up: %v", err)
	}
	const said = `{"seq":99,"hash":"x"}`
	if err := os.WriteFile(path, []byte(said), 0o600); err != nil {
		t.Fatal(err)
	}
	restored := open(t, db, ledger.WithAnchor(path))
	if err := restored.Reanchor(t.Context(), "ada", "restored the backup of Monday"); err != nil {
		t.Fatal(err)
	}
	sound(t, restored)
	propose(t, restored, "after")
	sound(t, open(t, db, ledger.WithAnchor(path)))
	events, err := restored.Events(t.Context(), 8, 1)
	if err != nil || len(events) != 1 || !strings.Contains(string(events[0].Data), "99") {
		t.Errorf("the note is %+v, %v", events, err)
	}
}

func TestWritingGoesOnWithoutTheAnchor(t *testing.T) {
	db := memory(t)
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, db, ledger.WithAnchor(filepath.Join(dir, ledger.AnchorFile)))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	propose(t, l, "a")
	if report, err := l.Verify(t.Context()); err != nil || len(report.Broken) != 1 {
		t.Errorf("the missing anchor is not reported: %+v, %v", report, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	propose(t, l, "b")
	sound(t, l)
}

// act does one random thing to the ledger; refusals are fine.
func act(rt *rapid.T, ctx context.Context, db *store.DB, l *ledger.Ledger) {
	id := rapid.Int64Range(1, 12).Draw(rt, "id")
	text := rapid.StringN(0, 5, 10).Draw(rt, "text")
	var err error
	switch rapid.IntRange(0, 7).Draw(rt, "move") {
	case 0:
		_, _, err = l.Propose(ctx, ledger.Proposal{Key: "k" + text, Kind: ledger.KindAlias, Subject: text, By: "ada"})
	case 1:
		_, err = l.Approve(ctx, id, "ada", text)
	case 2:
		_, err = l.Reject(ctx, id, "ada", text)
	case 3:
		_, err = l.Start(ctx, id)
	case 4:
		err = l.Step(ctx, id, text, text)
	case 5:
		_, err = l.Finish(ctx, id, text)
	case 6:
		_, err = l.Fail(ctx, id, errors.New(text))
	case 7:
		err = db.Write(ctx, func(tx *store.Tx) error {
			return l.Note(ctx, tx, ledger.Act{Actor: "ada", What: "note", Subject: text})
		})
	}
	if err != nil && reason(err) == "" && !errors.Is(err, store.ErrText) {
		rt.Fatal(err)
	}
}

func TestAnySequenceIsSoundAndAnyMutationIsFound(t *testing.T) {
	columns := []string{
		"seq", "at", "what", "actor", "entry", "kind", "subject", "key", "step", "why", "error", "data", "prev", "hash",
	}
	rapid.Check(t, func(rt *rapid.T) {
		db := storetest.Open(t)
		defer func() { _ = db.Close() }()
		l := open(t, db)
		if _, _, err := l.Propose(t.Context(), proposal("first")); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, 20).Draw(rt, "moves") {
			act(rt, t.Context(), db, l)
		}
		report, err := l.Verify(t.Context())
		if err != nil || len(report.Broken) != 0 {
			rt.Fatalf("before tampering: %+v, %v", report, err)
		}
		seq := rapid.Int64Range(1, report.Rows).Draw(rt, "seq")
		statement := "DELETE FROM ledger_event WHERE seq = ?"
		switch column := rapid.SampledFrom(append(columns, "")).Draw(rt, "column"); column {
		case "":
		case "seq", "at", "entry":
			// seq goes far beyond the end, where no row is in the way.
			statement = "UPDATE ledger_event SET " + column + " = " + column + " + 1000 WHERE seq = ?"
		default:
			statement = "UPDATE ledger_event SET " + column + " = " + column + " || 'x' WHERE seq = ?"
		}
		if err := tamper(t.Context(), db, statement, seq); err != nil {
			rt.Fatal(err)
		}
		report, err = l.Verify(t.Context())
		if err != nil || len(report.Broken) == 0 {
			rt.Fatalf("%s (%d) is not found: %+v, %v", statement, seq, report, err)
		}
	})
}
