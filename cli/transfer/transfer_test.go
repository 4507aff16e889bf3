package transfer_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stoaproject/stoa/app"
	"github.com/stoaproject/stoa/cli/transfer"
	"github.com/stoaproject/stoa/manifest"
)

// fixture writes the database file and the artifacts of an MLflow server and opens them.
func fixture(t *testing.T) *transfer.Database {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "mlflow.db")
	statements, err := os.ReadFile("testdata/mlflow.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	const generate = `CREATE TEMP VIEW generate AS WITH RECURSIVE g (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM g
		WHERE value < 2499) SELECT value FROM g;`
	if _, err := db.Exec(generate + string(statements)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"1/aaaa/artifacts/notes/é ü%41.txt":    "hello",
		"1/aaaa/artifacts/empty":               "",
		"1/aaaa/artifacts/model/MLmodel":       "flavors: {}\n",
		"1/models/m-1/artifacts/MLmodel":       "flavors: {}\n",
		"1/models/m-1/artifacts/data/large.bi": strings.Repeat("x", 3_000_000),
	} {
		at := filepath.Join(dir, "artifacts", filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	source, err := transfer.OpenFile(file, filepath.Join(dir, "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	return source
}

// stoa runs a whole server.
func stoa(t *testing.T) *transfer.Server {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, app.WorkloadFile), manifest.Template("test"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(app.Options{
		Dir: dir, Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", Version: "test", Log: io.Discard,
	})
	if err == nil {
		err = a.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	key, err := os.ReadFile(a.OwnerKey())
	if err != nil {
		t.Fatal(err)
	}
	return &transfer.Server{Base: a.URL(), Authorization: "Bearer " + strings.TrimSpace(string(key)), HTTP: client}
}

func move(t *testing.T, from transfer.Source, to *transfer.Server) transfer.Report {
	t.Helper()
	report, err := transfer.Copy(t.Context(), from, to, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestMovingInCarriesEverythingOnce(t *testing.T) {
	source, server := fixture(t), stoa(t)
	first := move(t, source, server)
	want := transfer.Report{
		Experiments: 2, Runs: 3, Metrics: 2501, Files: 5, Bytes: 3_000_029, LoggedModels: 1, Models: 2, Versions: 2, Aliases: 1,
	}
	if got := first; !same(got, want) {
		t.Errorf("copied %+v, want %+v", got, want)
	}
	for _, part := range []string{
		"artifacts of run cccc: file:///etc is not beneath", "the number of version 3 of churn-model: it is 2 now",
		`version 1 of elsewhere: its source "file:///etc/passwd"`, "1 deleted experiments", "1 deleted runs", "1 traces",
	} {
		if !slices.ContainsFunc(first.NotCarried, func(line string) bool { return strings.Contains(line, part) }) {
			t.Errorf("the report does not say %q: %q", part, first.NotCarried)
		}
	}
	check(t, server)

	again := move(t, source, server)
	want = transfer.Report{Experiments: 2, RunsBefore: 3, Models: 2, Aliases: 1}
	if got := again; !same(got, want) {
		t.Errorf("the second time copied %+v, want %+v", got, want)
	}
	check(t, server)
}

// same compares what two reports count.
func same(a, b transfer.Report) bool {
	return a.Experiments == b.Experiments && a.Runs == b.Runs && a.RunsBefore == b.RunsBefore && a.Metrics == b.Metrics &&
		a.Files == b.Files && a.Bytes == b.Bytes && a.LoggedModels == b.LoggedModels && a.Models == b.Models &&
		a.Versions == b.Versions && a.Aliases == b.Aliases
}

// check reads back what came of the fixture.
func check(t *testing.T, s *transfer.Server) {
	t.Helper()
	ctx := t.Context()
	experiments := map[string]string{}
	runs := map[string]*transfer.Run{}
	err := s.Experiments(ctx, func(e transfer.Experiment) error {
		experiments[e.Name] = e.ID
		return s.Runs(ctx, e.ID, func(r *transfer.Run) error {
			runs[r.Info.Name] = r
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	parent, child, outside := runs["parent"], runs["child"], runs["outside"]
	if len(runs) != 3 || parent == nil || child == nil || outside == nil {
		t.Fatalf("the runs are %v", runs)
	}
	if got := tag(child.Data.Tags, "mlflow.parentRunId"); got != parent.Info.ID {
		t.Errorf("the parent of the child is %q, want %q", got, parent.Info.ID)
	}
	if child.Info.Status != "FAILED" || child.Info.StartTime != 1600000000000 || child.Info.EndTime != 1600000009000 {
		t.Errorf("the child is %+v", child.Info)
	}
	if outside.Info.Status != "RUNNING" || outside.Info.EndTime != 0 || outside.Info.User != "bob" {
		t.Errorf("the run that has not ended is %+v", outside.Info)
	}
	if tag(parent.Data.Tags, "team") != "red" || tag(parent.Data.Params, "depth") != "3" {
		t.Errorf("the parent has %+v", parent.Data)
	}
	var values []string
	for _, key := range []string{"loss", "bad"} {
		if err := s.History(ctx, parent.Info.ID, key, func(part []transfer.Metric) error {
			for _, m := range part {
				values = append(values, string(m.Value))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(values) != 2501 || values[1] != "0.5" || values[2500] != `"NaN"` {
		t.Errorf("%d values came over, the last %s", len(values), values[len(values)-1])
	}
	if d := parent.Inputs.Datasets; len(d) != 1 || d[0].Dataset.Source != "/data/feed.csv" ||
		tag(d[0].Tags, "mlflow.data.context") != "training" {
		t.Errorf("the data sets are %+v", d)
	}
	checkFiles(t, s, transfer.Owner{ID: parent.Info.ID, Location: parent.Info.ArtifactURI}, map[string]int{
		"notes/é ü%41.txt": 5, "empty": 0, "model/MLmodel": 12,
	})
	checkModel(t, s, experiments["churn"], parent)
}

func checkModel(t *testing.T, s *transfer.Server, experiment string, parent *transfer.Run) {
	t.Helper()
	var models []*transfer.LoggedModel
	if err := s.LoggedModels(t.Context(), experiment, func(l *transfer.LoggedModel) error {
		models = append(models, l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(models) != 1 {
		t.Fatalf("there are %d logged models, want 1", len(models))
	}
	l := models[0]
	if l.Info.Status != "LOGGED_MODEL_READY" || l.Info.SourceRun != parent.Info.ID || tag(l.Data.Params, "depth") != "3" ||
		tag(l.Info.Tags, "stage") != "draft" || len(l.Data.Metrics) != 1 || string(l.Data.Metrics[0].Value) != "0.75" {
		t.Errorf("the logged model is %+v", l)
	}
	if out := parent.Outputs.Models; len(out) != 1 || out[0].ID != l.Info.ID || out[0].Step != 7 {
		t.Errorf("the outputs of the parent are %+v", out)
	}
	checkFiles(t, s, transfer.Owner{Model: true, ID: l.Info.ID, Location: l.Info.ArtifactURI}, map[string]int{
		"MLmodel": 12, "data/large.bi": 3_000_000,
	})
	var registered []*transfer.RegisteredModel
	if err := s.RegisteredModels(t.Context(), func(r *transfer.RegisteredModel) error {
		registered = append(registered, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(registered, func(r *transfer.RegisteredModel) bool { return r.Name == "churn-model" })
	if i < 0 || len(registered[i].Versions) != 2 {
		t.Fatalf("the registered models are %+v", registered)
	}
	r := registered[i]
	if r.Description != "who leaves" || tag(r.Tags, "owner") != "ann" || len(r.Aliases) != 1 || r.Aliases[0].Version != 2 {
		t.Errorf("the registered model is %+v", r)
	}
	if v := r.Versions[0]; v.Source != "models:/"+l.Info.ID || v.RunID != parent.Info.ID || v.Description != "first" ||
		tag(v.Tags, "k") != "v" {
		t.Errorf("version 1 is %+v", v)
	}
	if v := r.Versions[1]; v.Source != "runs:/"+parent.Info.ID+"/model" {
		t.Errorf("version 2 is %+v", v)
	}
}

func checkFiles(t *testing.T, s *transfer.Server, of transfer.Owner, want map[string]int) {
	t.Helper()
	err := s.Files(t.Context(), of, func(f transfer.File) error {
		body, err := f.Open()
		if err != nil {
			return err
		}
		defer body.Close()
		n, err := io.Copy(io.Discard, body)
		if size, ok := want[f.Path]; !ok || int64(size) != n || f.Size != n {
			t.Errorf("%s of %s has %d bytes and is said to have %d, want %d", f.Path, of, n, f.Size, size)
		}
		delete(want, f.Path)
		return err
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%v are missing of %s: %v", want, of, err)
	}
}

func tag(tags []transfer.Tag, key string) string {
	for _, t := range tags {
		if t.Key == key {
			return t.Value
		}
	}
	return ""
}

// A breaking source fails after a number of steps.
type breaking struct {
	transfer.Source
	left int
}

var errBroken = errors.New("the source broke off")

func (b *breaking) step() error {
	if b.left--; b.left < 0 {
		return errBroken
	}
	return nil
}

func (b *breaking) Runs(ctx context.Context, experiment string, yield func(*transfer.Run) error) error {
	return b.Source.Runs(ctx, experiment, func(r *transfer.Run) error { return errors.Join(b.step(), yield(r)) })
}

func (b *breaking) History(ctx context.Context, run, key string, yield func([]transfer.Metric) error) error {
	return b.Source.History(ctx, run, key, func(m []transfer.Metric) error { return errors.Join(b.step(), yield(m)) })
}

func (b *breaking) Files(ctx context.Context, of transfer.Owner, yield func(transfer.File) error) error {
	return b.Source.Files(ctx, of, func(f transfer.File) error { return errors.Join(b.step(), yield(f)) })
}

func (b *breaking) LoggedModels(ctx context.Context, e string, yield func(*transfer.LoggedModel) error) error {
	return b.Source.LoggedModels(ctx, e, func(l *transfer.LoggedModel) error { return errors.Join(yield(l), b.step()) })
}

func (b *breaking) RegisteredModels(ctx context.Context, yield func(*transfer.RegisteredModel) error) error {
	return b.Source.RegisteredModels(ctx, func(r *transfer.RegisteredModel) error { return errors.Join(b.step(), yield(r)) })
}

// TestBrokenOffTransferIsCompleted breaks a transfer off one step later each time until one comes through.
func TestBrokenOffTransferIsCompleted(t *testing.T) {
	source, server := fixture(t), stoa(t)
	broken := 0
	for steps := 0; ; steps++ {
		_, err := transfer.Copy(t.Context(), &breaking{Source: source, left: steps}, server, func(string) {})
		if err == nil {
			break
		}
		if !errors.Is(err, errBroken) {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		broken++
	}
	if broken < 10 {
		t.Errorf("broke off %d times only", broken)
	}
	check(t, server)
}

// An unreadable source does not give one of its files.
type unreadable struct{ transfer.Source }

func (u unreadable) Files(ctx context.Context, of transfer.Owner, yield func(transfer.File) error) error {
	return u.Source.Files(ctx, of, func(f transfer.File) error {
		if f.Path == "empty" {
			f.Open = func() (io.ReadCloser, error) { return nil, os.ErrPermission }
		}
		return yield(f)
	})
}

func TestFileThatCannotBeReadLosesNoOther(t *testing.T) {
	report := move(t, unreadable{fixture(t)}, stoa(t))
	if report.Files != 4 || !slices.ContainsFunc(report.NotCarried, func(line string) bool {
		return strings.HasPrefix(line, "artifact empty of run aaaa: ")
	}) {
		t.Errorf("copied %+v", report)
	}
}

func TestMovingOutAndInAgain(t *testing.T) {
	first, second := stoa(t), stoa(t)
	move(t, fixture(t), first)
	report := move(t, first, second)
	if report.Runs != 3 || report.Versions != 2 || report.Aliases != 1 {
		t.Errorf("copied %+v", report)
	}
	check(t, second)
}

func TestWhatIsNoDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite", other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE a (b)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		text: "not a database", other: "no table experiments", filepath.Join(dir, "absent"): "no database file",
	} {
		if _, err := transfer.OpenFile(file, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(file), err, want)
		}
	}
}
