// Package retrain runs a training command on the recent labelled window and examines what it made.
//
// [Trainer.Run] cuts the most recent labelled rows out of a CSV file that the configuration names, splits off the last
// part as a hold-out, and runs a command on the rest. The command is an argument list, never a shell line; it learns
// where to read and write from placeholders. It is given a minimal environment, a process group of its own that is
// killed when the run ends for any reason, a timeout, and a low priority so that serving goes first.
//
// [Evaluate] then asks the champion and the candidate about the hold-out. The order is that of time: the candidate is
// examined on rows that are younger than any it was trained on, as it will be in service.
//
// # Crashes
//
// A run has the id of its ledger entry, and a directory of that name. What it made is complete once the file done.json
// is there, written last and durably; running the same job again then returns the same result. Anything else in the
// directory is the leftover of a crash and is removed. Each attempt works in a fresh directory, so that a command that
// outlived a crash of ours cannot write into the files of the next attempt. [Trainer.Clean] removes directories of jobs
// that are over.
package retrain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
)

// Defaults and limits of a [Job].
const (
	DefaultTimeout     = time.Hour
	DefaultHoldout     = 0.2
	DefaultWindowRows  = 10_000
	DefaultMaxArtifact = 256 << 20
	maxMetrics         = 1 << 20 // bytes of the metrics file
	tailSize           = 16 << 10
)

// Config says where a Trainer works.
type Config struct {
	Workload string // directory of the workload file: data paths are inside it, and commands run in it
	Work     string // private directory for the files of runs; made with mode 0700
	Self     string // path of the running program, for commands that begin with "stoa"
	Logger   *slog.Logger
	Now      func() time.Time
}

// A Trainer runs training commands. It is safe for concurrent use by jobs with different ids.
type Trainer struct{ config Config }

// New makes the work directory.
func New(config Config) (*Trainer, error) {
	if config.Workload == "" || config.Work == "" {
		return nil, errors.New("retrain: the directories of the workload and of the runs are required")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	for _, dir := range []*string{&config.Workload, &config.Work} {
		absolute, err := filepath.Abs(*dir)
		if err != nil {
			return nil, fmt.Errorf("retrain: %w", err)
		}
		*dir = absolute
	}
	if err := os.MkdirAll(config.Work, 0o700); err != nil {
		return nil, fmt.Errorf("retrain: work directory: %w", err)
	}
	return &Trainer{config: config}, nil
}

// A Job is one run. ID, Data, Target and Command are required; other zero fields take their defaults.
type Job struct {
	ID          int64         // of the ledger entry
	Model       string        // for the log
	Data        string        // labelled CSV file, relative to the workload directory; may end in .gz
	Target      string        // column of the label; a row is labelled when it is not empty
	Time        string        // column to order by; empty when the file is in the order of time
	WindowRows  int           // most recent labelled rows used
	Holdout     float64       // last share of them that is kept from training
	Command     []string      // arguments; {data}, {model}, {metrics} and {workdir} stand for paths
	Timeout     time.Duration // of the command
	MaxArtifact int64         // bytes of the model file
}

func (j Job) withDefaults() (Job, error) {
	if j.WindowRows == 0 {
		j.WindowRows = DefaultWindowRows
	}
	if j.Holdout == 0 {
		j.Holdout = DefaultHoldout
	}
	if j.Timeout == 0 {
		j.Timeout = DefaultTimeout
	}
	if j.MaxArtifact == 0 {
		j.MaxArtifact = DefaultMaxArtifact
	}
	switch {
	case j.ID < 1:
		return j, invalid("a retraining job needs the id of its ledger entry", "")
	case j.Data == "" || j.Target == "":
		return j, invalid("a retraining job needs a data file and its target column", "name both in the workload file")
	case len(j.Command) == 0 || j.Command[0] == "":
		return j, invalid("a retraining job needs a command", `e.g. ["stoa", "train", "{data}", "--out", "{model}"]`)
	case j.WindowRows < 2:
		return j, invalid(fmt.Sprintf("a window of %d rows cannot be split", j.WindowRows), "use at least 2 rows")
	case !(j.Holdout > 0 && j.Holdout < 1):
		return j, invalid(fmt.Sprintf("a hold-out of %g is not a share", j.Holdout), "use a number between 0 and 1")
	case j.Timeout < 0 || j.MaxArtifact < 0:
		return j, invalid("a limit of the retraining job is negative", "")
	}
	return j, nil
}

func invalid(message, hint string) error {
	return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: message, Hint: hint}
}

// A Result is what a run made. Paths stay valid until [Trainer.Remove].
type Result struct {
	ID          int64              `json:"id"`
	Model       string             `json:"model"`        // path of the ONNX file
	ModelDigest string             `json:"model_digest"` // of that file
	Data        string             `json:"data"`         // path of the training rows
	Holdout     string             `json:"holdout"`      // path of the rows kept from training
	DataDigest  string             `json:"data_digest"`  // of the whole window: the training rows, then the hold-out
	TrainRows   int                `json:"train_rows"`
	HoldoutRows int                `json:"holdout_rows"`
	Command     []string           `json:"command"` // as configured, placeholders not replaced
	Parameters  map[string]string  `json:"parameters,omitempty"`
	Metrics     map[string]float64 `json:"metrics,omitempty"` // numbers at the top of the metrics file
	Took        time.Duration      `json:"took"`
	Tail        string             `json:"tail,omitempty"` // end of the command's output
}

// Run runs a job, or returns the result of the same job when it has run already. Errors about the data, the command or
// what it made are *[stoa.Refusal] with reason invalid; a full disk and a cancel are passed on.
func (t *Trainer) Run(ctx context.Context, job Job) (Result, error) {
	job, err := job.withDefaults()
	if err != nil {
		return Result{}, err
	}
	dir := t.dir(job.ID)
	if done, err := readDone(dir); err == nil {
		t.config.Logger.Info("retraining had finished before", "job", job.ID, "model", job.Model)
		return done, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return Result{}, fmt.Errorf("remove what a crash left of job %d: %w", job.ID, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Result{}, fmt.Errorf("work directory of job %d: %w", job.ID, err)
	}
	attempt, err := os.MkdirTemp(dir, "attempt-")
	if err != nil {
		return Result{}, fmt.Errorf("work directory of job %d: %w", job.ID, err)
	}
	result, err := t.attempt(ctx, job, attempt)
	if err != nil {
		return result, err
	}
	if err := writeDone(dir, result); err != nil {
		return Result{}, fmt.Errorf("record the result of job %d: %w", job.ID, err)
	}
	return result, nil
}

// attempt cuts the data, runs the command and takes in what it made. On an error the Result has the command's output.
func (t *Trainer) attempt(ctx context.Context, job Job, dir string) (Result, error) {
	began := t.config.Now()
	result := Result{ID: job.ID, Command: job.Command}
	cut, err := t.cut(ctx, job, dir)
	if err != nil {
		return result, err
	}
	result.Data, result.Holdout, result.DataDigest = cut.train, cut.holdout, cut.digest
	result.TrainRows, result.HoldoutRows = cut.trainRows, cut.holdoutRows
	result.Parameters = map[string]string{
		"window_rows": strconv.Itoa(job.WindowRows), "holdout": strconv.FormatFloat(job.Holdout, 'g', -1, 64),
		"train_rows": strconv.Itoa(cut.trainRows), "holdout_rows": strconv.Itoa(cut.holdoutRows),
	}
	result.Model = filepath.Join(dir, "model.onnx")
	metrics := filepath.Join(dir, "metrics.json")
	result.Tail, err = t.command(ctx, job, dir, strings.NewReplacer(
		"{data}", cut.train, "{model}", result.Model, "{metrics}", metrics, "{workdir}", dir))
	result.Took = t.config.Now().Sub(began)
	if err != nil {
		return result, err
	}
	if result.ModelDigest, err = takeIn(result.Model, job.MaxArtifact); err != nil {
		return result, err
	}
	result.Metrics, err = readMetrics(metrics)
	return result, err
}

// takeIn checks the model file, makes it durable and returns its digest.
func takeIn(path string, most int64) (string, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", invalid("the training command ended well but wrote no model", "it must write an ONNX file to {model}")
	}
	if err != nil {
		return "", fmt.Errorf("model of the training command: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return "", invalid("what the training command wrote to {model} is not a file", "write an ONNX file there")
	case info.Size() == 0:
		return "", invalid("the training command wrote an empty model", "")
	case info.Size() > most:
		return "", invalid(fmt.Sprintf("the training command wrote a model of %d bytes; at most %d are taken", info.Size(), most),
			"raise max_artifact in the workload file, or train a smaller model")
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("model of the training command: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("model of the training command: %w", err)
	}
	if err := f.Sync(); err != nil {
		return "", fmt.Errorf("model of the training command: %w", err)
	}
	return digest(h.Sum(nil)), nil
}

func digest(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// readMetrics returns the numbers at the top of the metrics file. The file need not exist.
func readMetrics(path string) (map[string]float64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("metrics of the training command: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMetrics+1))
	if err != nil {
		return nil, fmt.Errorf("metrics of the training command: %w", err)
	}
	if len(text) > maxMetrics {
		return nil, invalid(fmt.Sprintf("the metrics file is larger than %d bytes", maxMetrics), "write a JSON object of numbers")
	}
	return parseMetrics(text)
}

func parseMetrics(text []byte) (map[string]float64, error) {
	var values map[string]any
	if err := json.Unmarshal(text, &values); err != nil {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonInvalid, Message: "the metrics file is not a JSON object",
			Hint: `write e.g. {"auc": 0.91} to {metrics}`, Err: err,
		}
	}
	metrics := make(map[string]float64)
	for name, value := range values {
		if number, ok := value.(float64); ok {
			metrics[name] = number
		}
	}
	return metrics, nil
}

func (t *Trainer) dir(id int64) string {
	return filepath.Join(t.config.Work, "job-"+strconv.FormatInt(id, 10))
}

// Remove removes the files of a job.
func (t *Trainer) Remove(id int64) error {
	if err := os.RemoveAll(t.dir(id)); err != nil {
		return fmt.Errorf("remove files of job %d: %w", id, err)
	}
	return nil
}

// Clean removes the files of every job but those to keep: at start, the jobs that the ledger calls running.
func (t *Trainer) Clean(keep ...int64) error {
	kept := make(map[string]bool)
	for _, id := range keep {
		kept[filepath.Base(t.dir(id))] = true
	}
	entries, err := os.ReadDir(t.config.Work)
	if err != nil {
		return fmt.Errorf("clean work directory: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "job-") && !kept[e.Name()] {
			failed = append(failed, os.RemoveAll(filepath.Join(t.config.Work, e.Name())))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("clean work directory: %w", err)
	}
	return nil
}

const doneFile = "done.json"

// readDone returns the result of a finished job whose model file is still the one it made.
func readDone(dir string) (Result, error) {
	text, err := os.ReadFile(filepath.Join(dir, doneFile))
	if err != nil {
		return Result{}, err
	}
	var r Result
	if err := json.Unmarshal(text, &r); err != nil {
		return Result{}, err
	}
	f, err := os.Open(r.Model)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Result{}, err
	}
	if digest(h.Sum(nil)) != r.ModelDigest {
		return Result{}, errors.New("the model file has changed")
	}
	if _, err := os.Stat(r.Holdout); err != nil {
		return Result{}, err
	}
	return r, nil
}

// writeDone writes the marker durably and whole or not at all.
func writeDone(dir string, r Result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, doneFile+".part"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, doneFile)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
