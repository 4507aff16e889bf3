package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
)

// trainingData writes a file of n rows whose class is whether x is above its middle.
func trainingData(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("x,noise,class\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,%d,%v\n", i*7%n, i*3%5, i*7%n > n/2)
	}
	path := filepath.Join(t.TempDir(), "data.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runTrain runs stoa train and returns what it printed.
func runTrain(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := newTrainCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

func TestTrainWritesModelAndMetrics(t *testing.T) {
	data, dir := trainingData(t, 500), t.TempDir()
	model, metrics := filepath.Join(dir, "m.onnx"), filepath.Join(dir, "m.json")
	stdout, stderr, err := runTrain(t.Context(), data, "--target", "class", "--out", model, "--metrics", metrics, "--rounds", "20")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stdout, "400 rows × 2 features") || !strings.Contains(stdout, "auc") {
		t.Errorf("printed %q", stdout)
	}
	if got := strings.Count(stderr, "\n"); got != 10 || !strings.Contains(stderr, "training: round 20 of 20\n") {
		t.Errorf("progress was %q, want ten lines", stderr)
	}
	var measured map[string]float64
	text, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &measured); err != nil || measured["auc"] < 0.99 || measured["rows_holdout"] != 100 {
		t.Errorf("metrics are %s (%v)", text, err)
	}
	if info, err := os.Stat(model); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("the model is %v, %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTrainJSON(t *testing.T) {
	data, out := trainingData(t, 300), filepath.Join(t.TempDir(), "m.onnx")
	stdout, stderr, err := runTrain(t.Context(), data, "--target=class", "--algorithm=logistic", "--features=x",
		"--out", out, "--json", "--quiet")
	if err != nil || stderr != "" {
		t.Fatalf("error %v, stderr %q", err, stderr)
	}
	var r trainResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Parameters["l2"] != "1" || strings.Join(r.Features, ",") != "x" || strings.Join(r.Classes, ",") != "false,true" ||
		!strings.HasPrefix(r.Digest, "sha256:") || !strings.HasPrefix(r.DataDigest, "sha256:") || r.Size == 0 {
		t.Errorf("result is %+v", r)
	}
}

func TestTrainErrors(t *testing.T) {
	data := trainingData(t, 100)
	out := filepath.Join(t.TempDir(), "m.onnx")
	for _, c := range []struct {
		name  string
		args  []string
		usage bool
		want  string
	}{
		{"no target", []string{data, "--out", out}, true, "--target is missing"},
		{"no out", []string{data, "--target=class"}, true, "--out is missing"},
		{"bad option", []string{data, "--target=class", "--out", out, "--bins=1"}, true, "bins is 1"},
		{"wrong target", []string{data, "--target=klass", "--out", out}, false, "the file has the columns x, noise, class"},
		{"no directory", []string{data, "--target=class", "--out", filepath.Join(out, "no", "m.onnx"), "--quiet"}, false, "write "},
		{"no file", []string{out, "--target=class", "--out", out}, false, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := runTrain(t.Context(), c.args...)
			var usage *usageError
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &usage) != c.usage {
				t.Errorf("error is %v, want %q (usage error: %v)", err, c.want, c.usage)
			}
			if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
				t.Error("a model was written")
			}
		})
	}
}

func TestTrainPointsAtTheBadCell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.csv")
	if err := os.WriteFile(path, []byte("a,b,y\n1,2,0\n3,blue,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := runTrain(t.Context(), path, "--target=y", "--out", path+".onnx")
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "d.csv:3:3: \"blue\" in column \"b\"") ||
		!strings.Contains(refusal.Hint, "--features") {
		t.Errorf("error is %v", err)
	}
}

func TestTrainStopsCleanly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	_, _, err := runTrain(ctx, trainingData(t, 100), "--target=class", "--out", filepath.Join(dir, "m.onnx"))
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("error is %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
