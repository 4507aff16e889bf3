package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

// A house is what access stands on, and outlives a restart.
type house struct {
	db     *store.DB
	ledger *ledger.Ledger
	dir    string
	log    *strings.Builder
}

func newHouse(t testing.TB) *house {
	t.Helper()
	db := storetest.Open(t)
	l, err := ledger.New(t.Context(), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &house{db: db, ledger: l, dir: t.TempDir(), log: new(strings.Builder)}
}

func (h *house) open(t testing.TB) (*Access, error) {
	t.Helper()
	return New(t.Context(), Config{DB: h.db, Ledger: h.ledger, Dir: h.dir, Logger: slog.New(slog.NewTextHandler(h.log, nil))})
}

func (h *house) mustOpen(t testing.TB) *Access {
	t.Helper()
	a, err := h.open(t)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (h *house) ownerFile() string { return filepath.Join(h.dir, OwnerFile) }

func (h *house) ownerKey(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(h.ownerFile())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (h *house) owner(t testing.TB, a *Access) stoa.Caller {
	t.Helper()
	caller, err := a.Admit("Bearer " + h.ownerKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return caller
}

func wantReason(t *testing.T, err error, want stoa.Reason) {
	t.Helper()
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != want {
		t.Errorf("got %v, want a refusal for %s", err, want)
	}
}

func TestFirstStartMakesTheOwnersKey(t *testing.T) {
	h := newHouse(t)
	a := h.mustOpen(t)
	info, err := os.Stat(h.ownerFile())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	caller := h.owner(t, a)
	if !caller.Owner || caller.Name != "owner" || caller.ID == "" || strings.Contains(h.ownerKey(t), caller.ID) {
		t.Errorf("caller %+v", caller)
	}
	if strings.Contains(h.log.String(), h.ownerKey(t)) {
		t.Error("the log shows the secret")
	}
	before := h.ownerKey(t)
	again := h.mustOpen(t)
	if h.ownerKey(t) != before || h.owner(t, again) != caller {
		t.Error("the second start changed the key")
	}
}

func TestOnlyTheHashIsStored(t *testing.T) {
	h := newHouse(t)
	h.mustOpen(t)
	secret := h.ownerKey(t)
	err := h.db.Read(t.Context(), func(tx *store.Tx) error {
		for _, table := range []string{"access_key", "ledger_event"} {
			rows, err := tx.Query(t.Context(), "SELECT * FROM "+table)
			if err != nil {
				return err
			}
			names, _ := rows.Columns()
			for rows.Next() {
				values := make([]any, len(names))
				for i := range values {
					values[i] = new(any)
				}
				if err := rows.Scan(values...); err != nil {
					return err
				}
				for i, v := range values {
					if strings.Contains(fmt.Sprint(*v.(*any)), secret[len(prefix):]) {
						t.Errorf("%s.%s holds the secret", table, names[i])
					}
				}
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOwnerFileIsSettled(t *testing.T) {
	given := string(newSecret())
	tests := []struct {
		what    string
		prepare func(t *testing.T, h *house)
		err     string // what New says; empty when it must succeed
		log     string // what the log says
		key     string // what the file holds afterwards; empty for any key
	}{
		{"given from outside", func(t *testing.T, h *house) { write(t, h, given+"\n", 0o600) }, "", "", given},
		{"readable by others", func(t *testing.T, h *house) { write(t, h, given, 0o644) }, "", "others could read", given},
		{"cut by a crash", func(t *testing.T, h *house) { write(t, h, given[:20], 0o600) }, "", "made the owner's key", ""},
		{"emptied by a crash", func(t *testing.T, h *house) { write(t, h, "", 0o600) }, "", "made the owner's key", ""},
		{"not a key", func(t *testing.T, h *house) { write(t, h, "hunter2", 0o600) }, "does not hold a key", "", ""},
		{"too long", func(t *testing.T, h *house) { write(t, h, given+"x", 0o600) }, "does not hold a key", "", ""},
		{"directory", func(t *testing.T, h *house) {
			if err := os.Mkdir(h.ownerFile(), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file", "", ""},
		{"link", func(t *testing.T, h *house) {
			if err := os.Symlink("/dev/null", h.ownerFile()); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file", "", ""},
		{"cut although an owner is known", func(t *testing.T, h *house) {
			h.mustOpen(t)
			write(t, h, given[:20], 0o600)
		}, "ends before its key does", "", ""},
		{"replaced", func(t *testing.T, h *house) {
			h.mustOpen(t)
			write(t, h, given, 0o600)
		}, "", "takes the place of the old", given},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			h := newHouse(t)
			tt.prepare(t, h)
			a, err := h.open(t)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if key := h.ownerKey(t); tt.key != "" && key != tt.key {
				t.Error("the file holds another key")
			}
			if !h.owner(t, a).Owner || !strings.Contains(h.log.String(), tt.log) {
				t.Errorf("log %q", h.log)
			}
			if info, err := os.Stat(h.ownerFile()); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			keys, err := a.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			good := 0
			for _, k := range keys {
				if k.RevokedAt.IsZero() {
					good++
				}
			}
			if good != 1 {
				t.Errorf("%d good keys: %+v", good, keys)
			}
		})
	}
}

func write(t *testing.T, h *house, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(h.ownerFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.ownerFile(), mode); err != nil {
		t.Fatal(err)
	}
}

func TestOwnerFileTakenAwayStaysAway(t *testing.T) {
	h := newHouse(t)
	h.mustOpen(t)
	secret := h.ownerKey(t)
	if err := os.Remove(h.ownerFile()); err != nil {
		t.Fatal(err)
	}
	a := h.mustOpen(t)
	if _, err := os.Stat(h.ownerFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the file is back")
	}
	if _, err := a.Admit("Bearer " + secret); err != nil {
		t.Error(err)
	}
}

func TestAdmitRefusesAlikeWhateverIsWrong(t *testing.T) {
	h := newHouse(t)
	a := h.mustOpen(t)
	good := h.ownerKey(t)
	almost := []byte(good)
	almost[len(almost)-1] ^= 1
	_, first := a.Admit("")
	wantReason(t, first, stoa.ReasonUnauthenticated)
	for _, sent := range []string{"Bearer", "Bearer ", "Bearer x", good, "Basic " + good, "Bearer " + good + "x", "Bearer " + good[1:],
		"Bearer " + string(almost), "Bearer  ", "Bearer " + strings.Repeat("x", 1<<16), "Bearer " + string(newSecret())} {
		caller, err := a.Admit(sent)
		if err == nil || err.Error() != first.Error() || caller != (stoa.Caller{}) {
			t.Errorf("Admit(%.60q) = %+v, %v", sent, caller, err)
		}
	}
	for _, sent := range []string{"Bearer " + good, "bearer " + good, "BEARER  " + good + " "} {
		if _, err := a.Admit(sent); err != nil {
			t.Errorf("Admit(%.60q): %v", sent, err)
		}
	}
}

func TestKeysLiveAndDie(t *testing.T) {
	h := newHouse(t)
	a := h.mustOpen(t)
	owner := h.owner(t, a)
	secret, caller, err := a.Create(t.Context(), "ana", owner)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Admit("Bearer " + string(secret))
	if err != nil || got != caller || got.Owner || got.Name != "ana" {
		t.Fatalf("Admit = %+v, %v", got, err)
	}
	_, _, err = a.Create(t.Context(), "ana", owner)
	wantReason(t, err, stoa.ReasonConflict)
	_, _, err = a.Create(t.Context(), "Not a name", owner)
	wantReason(t, err, stoa.ReasonInvalid)
	_, _, err = a.Create(t.Context(), "bob", caller)
	wantReason(t, err, stoa.ReasonForbidden)
	wantReason(t, a.Revoke(t.Context(), owner.ID, caller), stoa.ReasonForbidden)
	wantReason(t, a.Revoke(t.Context(), "key-0", owner), stoa.ReasonNotFound)
	wantReason(t, a.Revoke(t.Context(), owner.ID, owner), stoa.ReasonConflict)

	if err := a.Revoke(t.Context(), caller.ID, owner); err != nil {
		t.Fatal(err)
	}
	_, err = a.Admit("Bearer " + string(secret))
	wantReason(t, err, stoa.ReasonUnauthenticated)
	wantReason(t, a.Revoke(t.Context(), caller.ID, owner), stoa.ReasonConflict)
	if _, _, err := a.Create(t.Context(), "ana", owner); err != nil {
		t.Errorf("a revoked key's name cannot be used again: %v", err)
	}

	second, other, err := a.CreateOwner(t.Context(), "second", owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(t.Context(), owner.ID, other); err != nil {
		t.Errorf("an owner who is not the last cannot be revoked: %v", err)
	}
	wantReason(t, a.Revoke(t.Context(), other.ID, other), stoa.ReasonConflict)

	// The key in the file is revoked, and a restart must not bring it back.
	again := h.mustOpen(t)
	_, err = again.Admit("Bearer " + h.ownerKey(t))
	wantReason(t, err, stoa.ReasonUnauthenticated)
	if _, err := again.Admit("Bearer " + string(second)); err != nil {
		t.Error(err)
	}

	events, err := h.ledger.Events(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var acts []string
	for _, e := range events {
		acts = append(acts, e.What+" by "+e.Actor)
	}
	want := []string{"key.create by owner.key", "key.create by owner", "key.revoke by owner", "key.create by owner",
		"key.create by owner", "key.revoke by second"}
	if strings.Join(acts, "; ") != strings.Join(want, "; ") {
		t.Errorf("ledger:\n%s\nwant\n%s", strings.Join(acts, "; "), strings.Join(want, "; "))
	}
}

func TestAKeyThatCouldNotBeStoredIsNotAdmitted(t *testing.T) {
	h := newHouse(t)
	a := h.mustOpen(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	secret, _, err := a.Create(ctx, "ana", h.owner(t, a))
	if err == nil || secret != "" {
		t.Fatalf("got a key and %v", err)
	}
	if n := len(*a.index.Load()); n != 1 {
		t.Errorf("%d keys in the index", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	h := newHouse(t)
	a := h.mustOpen(t)
	owner, good := h.owner(t, a), "Bearer "+h.ownerKey(t)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 5 {
				secret, caller, err := a.Create(t.Context(), fmt.Sprintf("k%d-%d", i, j), owner)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := a.Admit("Bearer " + string(secret)); err != nil {
					t.Error(err)
				}
				if err := a.Revoke(t.Context(), caller.ID, owner); err != nil {
					t.Error(err)
				}
				if _, err := a.Admit("Bearer " + string(secret)); err == nil {
					t.Error("a revoked key was admitted")
				}
			}
		})
		group.Go(func() {
			for range 500 {
				if _, err := a.Admit(good); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestSecretsDoNotPrint(t *testing.T) {
	s := newSecret()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("made", "secret", s, "in", struct{ S Secret }{s})
	asJSON, err := json.Marshal(map[string]any{"a": s, "b": []Secret{s}})
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %d", s, struct{ S Secret }{s}, s, s, s, s, s) + fmt.Sprint(s) + log.String() +
		string(asJSON)
	if strings.Contains(printed, string(s)[len(prefix):]) || strings.Contains(printed, fmt.Sprintf("%x", string(s))) {
		t.Errorf("printed %s", printed)
	}
	if strings.Count(printed, redacted) < 8 {
		t.Errorf("printed %s", printed)
	}
}

func FuzzAdmit(f *testing.F) {
	h := newHouse(f)
	a := h.mustOpen(f)
	good := "Bearer " + h.ownerKey(f)
	f.Add("")
	f.Add("Bearer stoa_")
	f.Add("bearer \t stoa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, sent string) {
		if _, err := a.Admit(sent); err == nil && !strings.Contains(sent, good[len("Bearer "):]) {
			t.Errorf("admitted %q", sent)
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	h := newHouse(b)
	a := h.mustOpen(b)
	owner := h.owner(b, a)
	for i := range 50 {
		if _, _, err := a.Create(b.Context(), fmt.Sprintf("key-%d", i), owner); err != nil {
			b.Fatal(err)
		}
	}
	good := "Bearer " + h.ownerKey(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Admit(good); err != nil {
			b.Fatal(err)
		}
	}
}
