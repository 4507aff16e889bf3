package retrain

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
)

// workload makes a workload directory with n labelled rows, every fifth of which follow one without a label.
func workload(t *testing.T, n int) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("at,price,class\n")
	for i := range n {
		if i%5 == 0 {
			fmt.Fprintf(&text, "%d,0,\n", i)
		}
		fmt.Fprintf(&text, "%d,%d,%s\n", i, i%7, []string{"DOWN", "UP"}[i%2])
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "labelled.csv"), text.String())
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newTrainer(t *testing.T, dir string) *Trainer {
	t.Helper()
	trainer, err := New(Config{Workload: dir, Work: filepath.Join(t.TempDir(), "work")})
	if err != nil {
		t.Fatal(err)
	}
	return trainer
}

// shell is a job whose command is a line of shell, with the places as $1 data, $2 model, $3 metrics and $4 workdir.
func shell(line string) Job {
	return Job{
		ID: 4, Model: "price", Data: "labelled.csv", Target: "class", WindowRows: 100, Holdout: 0.25,
		Command: []string{"/bin/sh", "-c", line, "sh", "{data}", "{model}", "{metrics}", "{workdir}"},
	}
}

func TestRun(t *testing.T) {
	dir := workload(t, 1000)
	trainer := newTrainer(t, dir)
	job := shell(`cp "$1" "$2"; echo '{"auc": 0.9, "note": "x"}' > "$3"; echo trained; echo "$PWD" > "$4/pwd"; env > "$4/env"`)
	t.Setenv("STOA_KEY", "secret")
	r, err := trainer.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if r.TrainRows != 75 || r.HoldoutRows != 25 || r.Metrics["auc"] != 0.9 || len(r.Metrics) != 1 {
		t.Errorf("result %+v; want 75 and 25 rows and one metric", r)
	}
	if r.Tail != "trained\n" || r.Parameters["window_rows"] != "100" || len(r.ModelDigest) != 71 || r.Took <= 0 {
		t.Errorf("result %+v", r)
	}
	rows := strings.Split(strings.TrimSpace(read(t, r.Data)), "\n")
	if rows[0] != "at,price,class" || rows[1] != "900,4,DOWN" || rows[75] != "974,1,DOWN" {
		t.Errorf("training rows %q to %q; want the window's first", rows[1], rows[len(rows)-1])
	}
	held := strings.Split(strings.TrimSpace(read(t, r.Holdout)), "\n")
	if held[1] != "975,2,UP" || held[25] != "999,5,UP" {
		t.Errorf("hold-out %q to %q; want the most recent rows", held[1], held[len(held)-1])
	}
	if got := strings.TrimSpace(read(t, filepath.Join(filepath.Dir(r.Model), "pwd"))); got != trainer.config.Workload {
		t.Errorf("the command ran in %s; want the workload directory", got)
	}
	for line := range strings.Lines(read(t, filepath.Join(filepath.Dir(r.Model), "env"))) {
		name, _, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"PATH", "HOME", "TMPDIR", "PWD", "_", "SHLVL", "OLDPWD"}, name) {
			t.Errorf("the command saw %s", strings.TrimSpace(line))
		}
	}
	for _, path := range []string{trainer.config.Work, trainer.dir(job.ID), filepath.Dir(r.Model)} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, %v; want 0700", path, info.Mode(), err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRunIsIdempotent(t *testing.T) {
	dir := workload(t, 200)
	trainer := newTrainer(t, dir)
	counter := filepath.Join(t.TempDir(), "count")
	job := shell(`echo x >> ` + counter + `; echo model > "$2"`)
	first, err := trainer.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	again, err := trainer.Run(t.Context(), job)
	if err != nil || again.Model != first.Model || again.DataDigest != first.DataDigest {
		t.Errorf("again %+v, %v; want %+v", again, err, first)
	}
	if n := strings.Count(read(t, counter), "x"); n != 1 {
		t.Errorf("the command ran %d times; want once", n)
	}
	// A model that is not the one recorded, or a directory without a marker, is the leftover of a crash.
	write(t, first.Model, "torn")
	if third, err := trainer.Run(t.Context(), job); err != nil || read(t, third.Model) != "model\n" {
		t.Errorf("after a crash %+v, %v; want another run", third, err)
	}
	if err := os.Remove(filepath.Join(trainer.dir(job.ID), doneFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := trainer.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(read(t, counter), "x"); n != 3 {
		t.Errorf("the command ran %d times; want 3", n)
	}
	if entries, err := os.ReadDir(trainer.dir(job.ID)); err != nil || len(entries) != 2 {
		t.Errorf("the job's directory holds %v, %v; want one attempt and the marker", entries, err)
	}
}

func TestRunFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Job)
		says   string
	}{
		{"exit code", func(j *Job) { j.Command[2] = "echo no memory >&2; exit 3" }, "exit status 3: no memory"},
		{"killed", func(j *Job) { j.Command[2] = "kill -9 $$" }, "killed"},
		{"no model", func(j *Job) { j.Command[2] = "true" }, "wrote no model"},
		{"empty model", func(j *Job) { j.Command[2] = `: > "$2"` }, "empty model"},
		{"model is a link", func(j *Job) { j.Command[2] = `ln -s /etc/passwd "$2"` }, "not a file"},
		{"model too large", func(j *Job) { j.MaxArtifact = 10 }, "at most 10"},
		{"metrics are not JSON", func(j *Job) { j.Command[2] += `; echo nan > "$3"` }, "metrics file"},
		{"no such program", func(j *Job) { j.Command = []string{"no-such-program"} }, "could not run"},
		{"timeout", func(j *Job) { j.Timeout, j.Command[2] = time.Millisecond, "sleep 60" }, "longer than 1ms"},
		{"no command", func(j *Job) { j.Command = nil }, "needs a command"},
		{"no data", func(j *Job) { j.Data = "none.csv" }, "no labelled data"},
		{"data outside", func(j *Job) { j.Data = "../../etc/passwd" }, "escapes"},
		{"data is a directory", func(j *Job) { j.Data = "." }, "not a file"},
		{"no target", func(j *Job) { j.Target = "truth" }, `no column "truth"`},
		{"no time", func(j *Job) { j.Time = "when" }, `no column "when"`},
		{"hold-out", func(j *Job) { j.Holdout = 1 }, "hold-out of 1"},
		{"too few rows", func(j *Job) { j.WindowRows, j.Holdout = 2, 0.01 }, "too few"},
		{"no id", func(j *Job) { j.ID = 0 }, "ledger entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trainer := newTrainer(t, workload(t, 200))
			job := shell(`cp "$1" "$2"`)
			c.change(&job)
			_, err := trainer.Run(t.Context(), job)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v; want one with %q", err, c.says)
			}
			var refusal *stoa.Refusal
			if !errors.As(err, &refusal) {
				t.Errorf("error %v is not a refusal", err)
			}
			if _, err := readDone(trainer.dir(4)); err == nil {
				t.Error("a failed run is marked as done")
			}
		})
	}
}

// TestCancelKillsTheWholeGroup starts a command that starts another and writes its id.
func TestCancelKillsTheWholeGroup(t *testing.T) {
	trainer := newTrainer(t, workload(t, 200))
	pidFile := filepath.Join(t.TempDir(), "pid")
	if err := syscall.Mkfifo(pidFile, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopping := errors.New("stopping")
	done := make(chan error, 1)
	go func() {
		_, err := trainer.Run(ctx, shell(`sleep 600 & echo $! > `+pidFile+`; wait`))
		done <- err
	}()
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, pidFile))) // waits for the writer
	if err != nil {
		t.Fatal(err)
	}
	cancel(stopping)
	if err := <-done; !errors.Is(err, stopping) {
		t.Errorf("error %v; want %v", err, stopping)
	}
	// The grandchild is killed; until its parent reaps it, it is a zombie.
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d outlived the cancel", pid)
		}
		<-tick.C
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(after, []byte("Z"))
}

func TestSelfReplacesStoa(t *testing.T) {
	trainer := newTrainer(t, workload(t, 200))
	trainer.config.Self = "/bin/cp"
	job := shell("")
	job.Command = []string{"stoa", "{data}", "{model}"}
	if r, err := trainer.Run(t.Context(), job); err != nil || r.Command[0] != "stoa" {
		t.Errorf("result %+v, %v; want the running program used and the command recorded as configured", r, err)
	}
}

func TestOutputIsBoundedAndLogged(t *testing.T) {
	var log bytes.Buffer
	trainer := newTrainer(t, workload(t, 200))
	trainer.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r, err := trainer.Run(t.Context(), shell(
		`i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done; printf '10%%\r20%%\rlast'; echo m > "$2"`))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Tail) > tailSize || !strings.HasSuffix(r.Tail, "line 19999\n10%\r20%\rlast") {
		t.Errorf("tail of %d bytes ends with %q", len(r.Tail), r.Tail[max(0, len(r.Tail)-40):])
	}
	if text := log.String(); !strings.Contains(text, `line="line 19999"`) || !strings.Contains(text, "line=last") {
		t.Errorf("the log lacks the command's lines: %q", text[max(0, len(text)-300):])
	}
}

func TestClean(t *testing.T) {
	trainer := newTrainer(t, workload(t, 200))
	for _, id := range []int64{4, 5, 6} {
		job := shell(`echo m > "$2"`)
		job.ID = id
		if _, err := trainer.Run(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(trainer.Clean(5), trainer.Remove(99)); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(trainer.config.Work); err != nil || len(entries) != 1 || entries[0].Name() != "job-5" {
		t.Errorf("left %v, %v; want job-5", entries, err)
	}
	if err := trainer.Remove(5); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(trainer.config.Work); len(entries) != 0 {
		t.Errorf("left %v; want nothing", entries)
	}
}

func TestReadWindow(t *testing.T) {
	for _, c := range []struct {
		name, text, at string
		most           int
		want           string // rows joined by / and fields by |
		says           string
	}{
		{name: "in file order", text: "a,y\n1,u\n2,\n3,d\n4,u\n", most: 2, want: "3|d/4|u"},
		{name: "all", text: "a,y\n1,u\n3,d\n", most: 10, want: "1|u/3|d"},
		{name: "exactly full", text: "a,y\n1,u\n3,d\n", most: 2, want: "1|u/3|d"},
		{name: "by number", text: "a,y\n10,u\n9,d\n11,u\n", at: "a", most: 2, want: "10|u/11|u"},
		{name: "by date", text: "a,y\n2026-02-01,u\n2026-01-31,d\n", at: "a", most: 5, want: "2026-01-31|d/2026-02-01|u"},
		{name: "not a time", text: "a,y\nsoon,u\n", at: "a", most: 5, says: "neither a number nor a date"},
		{name: "being written", text: "a,y\n1,up\n2,u", most: 5, want: "1|up"},
		{name: "quoted", text: "a,y\n\"1,5\",u\n\"x\ny\",d\n", most: 5, want: "1,5|u/x\ny|d"},
		{name: "byte order mark, CRLF", text: "\uFEFFa,y\r\n1,u\r\n", most: 5, want: "1|u"},
		{name: "empty", text: "", most: 5, says: "empty"},
		{name: "no rows", text: "a,y\n", most: 5, want: ""},
		{name: "short line", text: "a,y\n1\n", most: 5, says: "wrong number of fields"},
		{name: "bare quote", text: "a,y\n1\"2,u\n", most: 5, says: "clean CSV"},
		{name: "twice", text: "y,y\n1,u\n", most: 5, says: "twice"},
		{name: "unnamed", text: "y,\n1,u\n", most: 5, says: "empty or there twice"},
		{name: "binary", text: "a,y\n1\x00,u\n", most: 5, says: "zero byte"},
		{name: "long line", text: "a,y\n" + strings.Repeat("x", 2*maxLineBytes) + ",u\n", most: 5, says: "longer than"},
		{name: "many columns", text: strings.Repeat("a,", maxColumns+1) + "y\n", most: 5, says: "columns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readWindow(t.Context(), strings.NewReader(c.text), "y", c.at, c.most)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v; want one with %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			rows := make([]string, len(got.rows))
			for i, row := range got.rows {
				rows[i] = strings.Join(row, "|")
			}
			if text := strings.Join(rows, "/"); text != c.want {
				t.Errorf("rows %q; want %q", text, c.want)
			}
		})
	}
}

func TestReadsGzip(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(read(t, filepath.Join(workload(t, 200), "labelled.csv")))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "labelled.csv.gz"), packed.String())
	job := shell(`echo m > "$2"`)
	job.Data = "labelled.csv.gz"
	if r, err := newTrainer(t, dir).Run(t.Context(), job); err != nil || r.TrainRows != 75 {
		t.Errorf("result %+v, %v; want 75 rows", r, err)
	}
}

func TestDigestIsOfTheWindow(t *testing.T) {
	digestOf := func(n int) string {
		r, err := newTrainer(t, workload(t, n)).Run(t.Context(), shell(`echo m > "$2"`))
		if err != nil {
			t.Fatal(err)
		}
		return r.DataDigest
	}
	if a, b := digestOf(200), digestOf(200); a != b {
		t.Errorf("the same rows have the digests %s and %s", a, b)
	}
	if a, b := digestOf(200), digestOf(201); a == b {
		t.Error("different rows have the same digest")
	}
}

func FuzzReadWindow(f *testing.F) {
	f.Add([]byte("a,y\n1,u\n2,d\n"), 1)
	f.Add([]byte("\uFEFFa,y\r\n\"1\n,\",u\r\n2"), 3)
	f.Add([]byte("y\n\"\n"), 2)
	f.Fuzz(func(t *testing.T, text []byte, most int) {
		most = 1 + most&0xff
		got, err := readWindow(context.Background(), bytes.NewReader(text), "y", "", most)
		if err != nil {
			var refusal *stoa.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("error %v is not a refusal", err)
			}
			return
		}
		label := slices.Index(got.header, "y")
		if len(got.rows) > most {
			t.Fatalf("%d rows; want %d at most", len(got.rows), most)
		}
		for _, row := range got.rows {
			if len(row) != len(got.header) || row[label] == "" {
				t.Fatalf("row %q of header %q", row, got.header)
			}
		}
	})
}
