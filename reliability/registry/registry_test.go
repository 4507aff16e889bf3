package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/blob"
	"github.com/stoaproject/stoa/store/storetest"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// inspect takes artifacts that begin with "model", and refuses others as the runtime would.
func inspect(artifact []byte) (inputs, outputs []stoa.TensorSpec, err error) {
	switch {
	case bytes.HasPrefix(artifact, []byte("model")):
		spec := []stoa.TensorSpec{{Name: "x", Datatype: stoa.FP32, Shape: []int64{-1, 4}}}
		return spec, spec, nil
	case bytes.HasPrefix(artifact, []byte("operator")):
		return nil, nil, &stoa.Refusal{Reason: stoa.ReasonUnsupported, Message: "operator Frobnicate"}
	}
	return nil, nil, &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: "not a model"}
}

// A house is a registry and what it stands on.
type house struct {
	*registry.Registry
	db     *store.DB
	blobs  store.Blobs
	ledger *ledger.Ledger
}

func config(db *store.DB, blobs store.Blobs, l *ledger.Ledger) registry.Config {
	return registry.Config{
		DB: db, Blobs: blobs, Ledger: l, Inspect: inspect, Logger: discard(),
		Approvers: func(model string) []string { return []string{"approver of " + model} },
	}
}

func build(ctx context.Context, db *store.DB, blobs store.Blobs) (*house, error) {
	l, err := ledger.New(ctx, db, discard())
	if err != nil {
		return nil, err
	}
	r, err := registry.New(ctx, config(db, blobs, l))
	return &house{Registry: r, db: db, blobs: blobs, ledger: l}, err
}

func open(t testing.TB) *house {
	t.Helper()
	h, err := build(t.Context(), storetest.Open(t), blob.Memory())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func candidate(model, artifact string) registry.Candidate {
	return registry.Candidate{Model: model, Artifact: strings.NewReader(artifact), By: "ada"}
}

// register registers n versions of a model.
func (h *house) register(t testing.TB, model string, n int) {
	t.Helper()
	for i := range n {
		v, err := h.Register(t.Context(), candidate(model, fmt.Sprintf("model %s %d", model, i)))
		if err != nil || v.Number != i+1 {
			t.Fatalf("version %d: %+v, %v", i+1, v, err)
		}
	}
}

// sound checks the registry, the ledger, and that a registry opened anew knows the same.
func (h *house) sound(t testing.TB) {
	t.Helper()
	if wrong, err := h.Check(t.Context()); err != nil || len(wrong) != 0 {
		t.Errorf("check: %q, %v", wrong, err)
	}
	if report, err := h.ledger.Verify(t.Context()); err != nil || len(report.Broken) != 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

func reason(err error) stoa.Reason {
	var refusal *stoa.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}

func TestRegisterAndFind(t *testing.T) {
	h := open(t)
	h.register(t, "price", 1)
	c := registry.Candidate{
		Model: "price", Artifact: strings.NewReader("model two"), Parent: 1, DataDigest: "sha256:d", Code: "train.py",
		Parameters: map[string]string{"depth": "6"}, Metrics: map[string]float64{"auc": 0.9}, By: "ada",
	}
	registered, err := h.Register(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	registered.Parameters["depth"], registered.Inputs[0].Shape[0] = "changed by the caller", 99
	for _, ref := range []string{"2", registered.Digest} {
		v, err := h.Version(t.Context(), "price", ref)
		if err != nil || v.Number != 2 || v.Parent != 1 || v.Format != "onnx" || v.Parameters["depth"] != "6" ||
			v.Metrics["auc"] != 0.9 || v.Inputs[0].Shape[0] != -1 || v.CreatedAt.Location() != time.UTC {
			t.Errorf("%s: %+v, %v", ref, v, err)
		}
		if artifact, err := h.Artifact(t.Context(), v); err != nil || string(artifact) != "model two" {
			t.Errorf("%s: artifact %q, %v", ref, artifact, err)
		}
		v.Parameters["depth"], v.Metrics["auc"], v.Inputs[0].Shape[0] = "changed by the caller", 0, 99
	}
	for _, ref := range []string{"", "0", "3", "02", "+2", "-1", "champion", "sha256:" + strings.Repeat("0", 64)} {
		if _, err := h.Version(t.Context(), "price", ref); reason(err) != stoa.ReasonUnknownVersion {
			t.Errorf("version %q: %v", ref, err)
		}
	}
	if _, err := h.Version(t.Context(), "other", "1"); reason(err) != stoa.ReasonUnknownModel {
		t.Errorf("an unknown model: %v", err)
	}
	h.register(t, "another", 1)
	models, err := h.Models(t.Context())
	if err != nil || len(models) != 2 || models[0].Name != "another" || models[1].Versions != 2 {
		t.Errorf("models %+v, %v", models, err)
	}
	h.sound(t)
}

func TestWhatIsNotRegistered(t *testing.T) {
	good := func() registry.Candidate { return candidate("price", "model") }
	for name, test := range map[string]struct {
		change func(*registry.Candidate)
		want   stoa.Reason
	}{
		"no name":              {func(c *registry.Candidate) { c.Model = "" }, stoa.ReasonInvalid},
		"the parent directory": {func(c *registry.Candidate) { c.Model = ".." }, stoa.ReasonInvalid},
		"a path":               {func(c *registry.Candidate) { c.Model = "a/b" }, stoa.ReasonInvalid},
		"not ASCII":            {func(c *registry.Candidate) { c.Model = "prix\u00e9" }, stoa.ReasonInvalid},
		"a long name":          {func(c *registry.Candidate) { c.Model = strings.Repeat("a", 129) }, stoa.ReasonInvalid},
		"nobody":               {func(c *registry.Candidate) { c.By = "" }, stoa.ReasonInvalid},
		"no artifact":          {func(c *registry.Candidate) { c.Artifact = nil }, stoa.ReasonInvalid},
		"truncated":            {func(c *registry.Candidate) { c.Artifact = strings.NewReader("mod") }, stoa.ReasonInvalid},
		"an unknown operator": {
			func(c *registry.Candidate) { c.Artifact = strings.NewReader("operator") }, stoa.ReasonUnsupported},
		"a metric not finite": {
			func(c *registry.Candidate) { c.Metrics = map[string]float64{"auc": math.NaN()} }, stoa.ReasonInvalid},
		"an unknown parent":   {func(c *registry.Candidate) { c.Parent = 1 }, stoa.ReasonUnknownVersion},
		"a negative parent":   {func(c *registry.Candidate) { c.Parent = -1 }, stoa.ReasonUnknownVersion},
		"a reader that fails": {func(c *registry.Candidate) { c.Artifact = iotest.ErrReader(io.ErrUnexpectedEOF) }, ""},
		"too large": {
			func(c *registry.Candidate) { c.Artifact = strings.NewReader("model" + strings.Repeat("x", 1000)) },
			stoa.ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			limited := config(h.db, h.blobs, h.ledger)
			limited.MaxArtifact = 1000
			r, err := registry.New(t.Context(), limited)
			if err != nil {
				t.Fatal(err)
			}
			c := good()
			test.change(&c)
			if _, err := r.Register(t.Context(), c); err == nil || reason(err) != test.want {
				t.Errorf("error %v", err)
			}
			if models, err := r.Models(t.Context()); err != nil || len(models) != 0 {
				t.Errorf("models %+v, %v", models, err)
			}
			if v, err := r.Register(t.Context(), good()); err != nil || v.Number != 1 {
				t.Errorf("the next gets %+v, %v", v, err)
			}
		})
	}
}

func TestConcurrentRegistersOfTheSameArtifact(t *testing.T) {
	h := open(t)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			if v, err := h.Register(t.Context(), candidate("price", "model")); err != nil || v.Number != 1 {
				t.Errorf("the same artifact: %+v, %v", v, err)
			}
			if _, err := h.Register(t.Context(), candidate("other", fmt.Sprint("model ", i))); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	same, err := h.Versions(t.Context(), "price")
	if err != nil || len(same) != 1 {
		t.Errorf("%d versions of the same artifact, %v", len(same), err)
	}
	other, err := h.Versions(t.Context(), "other")
	if err != nil || len(other) != 16 {
		t.Errorf("%d versions, %v", len(other), err)
	}
	for i, v := range other {
		if v.Number != i+1 {
			t.Errorf("version %d is at %d", v.Number, i)
		}
	}
	if events, err := h.ledger.Events(t.Context(), 0, 0); err != nil || len(events) != 17 {
		t.Errorf("%d events, %v", len(events), err)
	}
	h.sound(t)
}

// entry makes a ledger entry and takes it so far.
func (h *house) entry(t *testing.T, kind ledger.Kind, model string, payload any, state ledger.State) int64 {
	t.Helper()
	e, _, err := h.ledger.Propose(t.Context(), ledger.Proposal{
		Key: fmt.Sprint(kind, model, payload, state), Kind: kind, Subject: model, Payload: payload, By: "delivery",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := map[ledger.State][]func() (ledger.Entry, error){
		ledger.StateApproved: {func() (ledger.Entry, error) { return h.ledger.Approve(t.Context(), e.ID, "ada", "") }},
		ledger.StateRejected: {func() (ledger.Entry, error) { return h.ledger.Reject(t.Context(), e.ID, "ada", "") }},
	}
	path[ledger.StateRunning] = append(path[ledger.StateApproved],
		func() (ledger.Entry, error) { return h.ledger.Start(t.Context(), e.ID) })
	path[ledger.StateDone] = append(path[ledger.StateRunning],
		func() (ledger.Entry, error) { return h.ledger.Finish(t.Context(), e.ID, nil) })
	for _, step := range path[state] {
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return e.ID
}

func TestWhoMayMoveTheChampion(t *testing.T) {
	type payload struct {
		Version int    `json:"version"`
		Alias   string `json:"alias,omitempty"`
	}
	h := open(t)
	h.register(t, "price", 2)
	h.register(t, "other", 2)
	for name, test := range map[string]struct {
		kind    ledger.Kind
		model   string
		payload any
		state   ledger.State
		may     bool
	}{
		"running rollout":     {ledger.KindRollout, "price", payload{Version: 2}, ledger.StateRunning, true},
		"approved rollout":    {ledger.KindRollout, "price", payload{Version: 2}, ledger.StateApproved, true},
		"approved alias":      {ledger.KindAlias, "price", payload{2, "champion"}, ledger.StateApproved, true},
		"another alias":       {ledger.KindAlias, "price", payload{2, "previous"}, ledger.StateApproved, false},
		"proposed":            {ledger.KindRollout, "price", payload{Version: 2}, ledger.StateProposed, false},
		"rejected":            {ledger.KindRollout, "price", payload{Version: 2}, ledger.StateRejected, false},
		"done":                {ledger.KindRollout, "price", payload{Version: 2}, ledger.StateDone, false},
		"another version":     {ledger.KindRollout, "price", payload{Version: 1}, ledger.StateRunning, false},
		"another model":       {ledger.KindRollout, "other", payload{Version: 2}, ledger.StateRunning, false},
		"another kind":        {ledger.KindRetrain, "price", payload{Version: 2}, ledger.StateRunning, false},
		"no payload":          {ledger.KindRollout, "price", nil, ledger.StateRunning, false},
		"a payload of no use": {ledger.KindRollout, "price", "2", ledger.StateRunning, false},
	} {
		t.Run(name, func(t *testing.T) {
			id := h.entry(t, test.kind, test.model, test.payload, test.state)
			reset := registry.Move{Model: "price", Alias: "champion", Version: 1, By: "approver of price"}
			if err := h.MoveAlias(t.Context(), reset); err != nil {
				t.Fatal(err)
			}
			move := registry.Move{Model: "price", Alias: "champion", Version: 2, By: "delivery", Entry: id}
			err := h.MoveAlias(t.Context(), move)
			if test.may && err != nil || !test.may && reason(err) != stoa.ReasonForbidden {
				t.Errorf("error %v", err)
			}
			aliases, err := h.Aliases(t.Context(), "price")
			if moved := aliases["champion"] == 2; err != nil || moved != test.may || moved && aliases["previous"] != 1 {
				t.Errorf("aliases %v, %v", aliases, err)
			}
		})
	}
	h.sound(t)
}

func TestMoves(t *testing.T) {
	h := open(t)
	h.register(t, "price", 3)
	for _, test := range []struct {
		name string
		move registry.Move
		want stoa.Reason // empty when it moves
		then map[string]int
	}{
		{"by somebody", registry.Move{Alias: "champion", Version: 1, By: "ada"}, stoa.ReasonForbidden, nil},
		{"by another model's approver", registry.Move{Alias: "champion", Version: 1, By: "approver of other"},
			stoa.ReasonForbidden, nil},
		{"previous by somebody", registry.Move{Alias: "previous", Version: 1, By: "ada"}, stoa.ReasonForbidden, nil},
		{"for an unknown entry", registry.Move{Alias: "champion", Version: 1, By: "ada", Entry: 999},
			stoa.ReasonNotFound, nil},
		{"the first champion", registry.Move{Alias: "champion", Version: 1, By: "approver of price"}, "",
			map[string]int{"champion": 1}},
		{"the second", registry.Move{Alias: "champion", Version: 2, By: "approver of price"}, "",
			map[string]int{"champion": 2, "previous": 1}},
		{"again", registry.Move{Alias: "champion", Version: 2, By: "ada"}, "",
			map[string]int{"champion": 2, "previous": 1}},
		{"a challenger", registry.Move{Alias: "challenger", Version: 3, By: "ada"}, "",
			map[string]int{"champion": 2, "previous": 1, "challenger": 3}},
		{"one's own", registry.Move{Alias: "blue", Version: 1, By: "ada"}, "",
			map[string]int{"champion": 2, "previous": 1, "challenger": 3, "blue": 1}},
		{"remove it", registry.Move{Alias: "blue", By: "ada"}, "",
			map[string]int{"champion": 2, "previous": 1, "challenger": 3}},
		{"remove what is not there", registry.Move{Alias: "blue", By: "ada"}, "",
			map[string]int{"champion": 2, "previous": 1, "challenger": 3}},
		{"remove previous", registry.Move{Alias: "previous", By: "ada"}, stoa.ReasonForbidden, nil},
		{"remove champion", registry.Move{Alias: "champion", By: "approver of price"}, stoa.ReasonConflict, nil},
		{"back", registry.Move{Alias: "champion", Version: 1, By: "approver of price"}, "",
			map[string]int{"champion": 1, "previous": 2, "challenger": 3}},
		{"an unknown version", registry.Move{Alias: "blue", Version: 4, By: "ada"}, stoa.ReasonUnknownVersion, nil},
		{"a negative version", registry.Move{Alias: "blue", Version: -1, By: "ada"}, stoa.ReasonUnknownVersion, nil},
		{"a number for a name", registry.Move{Alias: "7", Version: 1, By: "ada"}, stoa.ReasonInvalid, nil},
		{"a path for a name", registry.Move{Alias: "a/b", Version: 1, By: "ada"}, stoa.ReasonInvalid, nil},
		{"nobody", registry.Move{Alias: "blue", Version: 1}, stoa.ReasonInvalid, nil},
	} {
		test.move.Model = "price"
		before := h.Generation()
		err := h.MoveAlias(t.Context(), test.move)
		if (err == nil) != (test.want == "") || reason(err) != test.want {
			t.Errorf("%s: error %v", test.name, err)
		}
		aliases, err := h.Aliases(t.Context(), "price")
		if err != nil || test.want == "" && !maps.Equal(aliases, test.then) {
			t.Errorf("%s: aliases %v, %v", test.name, aliases, err)
		}
		if test.want != "" && h.Generation() != before {
			t.Errorf("%s: a refused move changes the generation", test.name)
		}
	}
	if err := h.MoveAlias(t.Context(), registry.Move{Model: "none", Alias: "a", Version: 1, By: "ada"}); reason(err) !=
		stoa.ReasonUnknownModel {
		t.Errorf("of an unknown model: %v", err)
	}
	events, err := h.ledger.Events(t.Context(), 3, 0)
	if err != nil || len(events) != 6 || events[1].What != "alias.move" ||
		string(events[1].Data) != `{"alias":"champion","from":1,"to":2,"previous":1}` {
		t.Errorf("%d events %+v, %v", len(events), events, err)
	}
	h.sound(t)
}

func TestListenersSeeTheChange(t *testing.T) {
	h := open(t)
	var seen []uint64
	h.OnChange(func() {
		if _, err := h.Check(t.Context()); err != nil { // a listener may use the registry
			t.Error(err)
		}
		seen = append(seen, h.Generation())
	})
	h.register(t, "price", 1)
	h.register(t, "price", 1) // the same again is no change
	if err := h.MoveAlias(t.Context(), registry.Move{Model: "price", Alias: "blue", Version: 1, By: "ada"}); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen) != "[1 2]" {
		t.Errorf("listeners saw the generations %v", seen)
	}
}

func TestReopenedRegistryKnowsTheSame(t *testing.T) {
	dir, place := t.TempDir(), storetest.Place(t)
	start := func() *house {
		db, err := storetest.OpenAt(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := blob.Dir(filepath.Join(dir, "blobs"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := build(t.Context(), db, blobs)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := start()
	first.register(t, "price", 3)
	if err := first.MoveAlias(t.Context(), registry.Move{Model: "price", Alias: "x", Version: 2, By: "ada"}); err != nil {
		t.Fatal(err)
	}
	before, err := first.Versions(t.Context(), "price")
	if err != nil {
		t.Fatal(err)
	}
	if err := first.db.Close(); err != nil {
		t.Fatal(err)
	}
	second := start()
	defer func() { _ = second.db.Close() }()
	after, err := second.Versions(t.Context(), "price")
	if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("before %v\nafter %v, %v", before, after, err)
	}
	if v, err := second.Version(t.Context(), "price", "x"); err != nil || v.Number != 2 {
		t.Errorf("x is %v, %v", v, err)
	}
	second.sound(t)
}

func TestCheckFindsDamage(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, h *house, path string) error
		want   string
	}{
		"edited blob": {func(_ *testing.T, _ *house, path string) error {
			return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("model price 9"), 0o600))
		}, "damaged"},
		"truncated blob": {func(_ *testing.T, _ *house, path string) error {
			return errors.Join(os.Chmod(path, 0o600), os.Truncate(path, 3))
		}, "damaged"},
		"missing blob": {func(_ *testing.T, _ *house, path string) error { return os.Remove(path) }, "missing"},
		"edited size":  {sql("UPDATE registry_version SET size = 1 WHERE number = 1"), "bytes"},
		"edited row":   {sql("UPDATE registry_version SET code = 'x' WHERE number = 1"), "memory"},
		"a gap":        {sql("DELETE FROM registry_version WHERE number = 1"), "from version 0 to 2"},
		"an alias to nowhere": {func(t *testing.T, h *house, _ string) error {
			// Foreign keys can be switched off outside a transaction only, which a migration can be.
			off := "PRAGMA foreign_keys = off"
			if os.Getenv(storetest.PostgresVariable) != "" {
				off = "ALTER TABLE registry_alias DISABLE TRIGGER ALL"
			}
			return h.db.Migrate(t.Context(), "damage", fstest.MapFS{"1_damage.sql": {Data: []byte(
				"-- +goose NO TRANSACTION\n-- +goose Up\n" + off + ";\n" +
					"INSERT INTO registry_alias (model, alias, number) VALUES ('price', 'x', 7);\n")}})
		}, "alias x of price points at version 7"},
	} {
		t.Run(name, func(t *testing.T) {
			db, dir := storetest.Open(t), t.TempDir()
			blobs, err := blob.Dir(dir)
			if err != nil {
				t.Fatal(err)
			}
			h, err := build(t.Context(), db, blobs)
			if err != nil {
				t.Fatal(err)
			}
			h.register(t, "price", 2)
			v, err := h.Version(t.Context(), "price", "1")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "sha256", strings.TrimPrefix(v.Digest, "sha256:"))
			if err := test.damage(t, h, path); err != nil {
				t.Fatal(err)
			}
			wrong, err := h.Check(t.Context())
			if err != nil || !strings.Contains(strings.Join(wrong, "\n"), test.want) {
				t.Errorf("want %q, found %q, %v", test.want, wrong, err)
			}
			if _, err := h.Artifact(t.Context(), v); strings.HasSuffix(name, "blob") && err == nil {
				t.Error("the damaged artifact is given out")
			}
		})
	}
}

// sql is damage done by statements.
func sql(statements ...string) func(*testing.T, *house, string) error {
	return func(t *testing.T, h *house, _ string) error {
		return h.db.Write(t.Context(), func(tx *store.Tx) error {
			for _, statement := range statements {
				if _, err := tx.Exec(t.Context(), statement); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// failing is a blob store whose disk is full.
type failing struct{ store.Blobs }

func (failing) Put(context.Context, io.Reader) (string, int64, error) { return "", 0, store.ErrFull }

func TestFullDiskLeavesNoVersion(t *testing.T) {
	h := open(t)
	h.register(t, "price", 1)
	r, err := registry.New(t.Context(), config(h.db, failing{h.blobs}, h.ledger))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Register(t.Context(), candidate("price", "model two")); !errors.Is(err, store.ErrFull) {
		t.Errorf("error %v", err)
	}
	if versions, err := r.Versions(t.Context(), "price"); err != nil || len(versions) != 1 {
		t.Errorf("versions %v, %v", versions, err)
	}
}

func TestSweepRemovesOrphansOnly(t *testing.T) {
	h := open(t)
	h.register(t, "price", 2)
	kept, _, err := h.blobs.Put(t.Context(), strings.NewReader("somebody else's"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.blobs.Put(t.Context(), strings.NewReader("an orphan")); err != nil {
		t.Fatal(err)
	}
	if n, err := h.Sweep(t.Context(), func(digest string) bool { return digest == kept }); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if n, err := h.Sweep(t.Context(), nil); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	h.sound(t)
}

func BenchmarkVersion(b *testing.B) {
	h := open(b)
	h.register(b, "price", 50)
	for b.Loop() {
		if _, err := h.Version(b.Context(), "price", "50"); err != nil {
			b.Fatal(err)
		}
	}
}
