package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/train"
)

// trainFlags are the flags of stoa train.
type trainFlags struct {
	columns train.Columns
	options train.Options
	out     string
	metrics string
	json    bool
	quiet   bool
}

// newTrainCommand is stoa train.
func newTrainCommand() *cobra.Command {
	f := &trainFlags{options: train.Defaults(train.GBDT)}
	cmd := &cobra.Command{
		Use:   "train DATA --target COLUMN --out MODEL.onnx",
		Short: "Train a model from a CSV or Parquet file and write it as ONNX",
		Long: `Train gradient-boosted trees or a logistic regression on the rows of a .csv, .csv.gz or .parquet file.

The last rows (--holdout) are kept from training and measured on, so the file should be in the order of time. Features
are numbers; an empty cell is a missing value. The same file, flags and seed give the same bytes, whatever the number
of threads. The model takes one input, "input" (FP32, one column per feature), and gives "label" and "probabilities".`,
		Example: `  # boosted trees on every column but the target
  stoa train elec.csv.gz --target class --out model.onnx

  # chosen features, smaller trees, the metrics in a file
  stoa train flights.parquet --target late --features hour,distance --depth 5 --rounds 200 \
      --out model.onnx --metrics metrics.json

  # logistic regression, measured on the last tenth, for a machine to read
  stoa train data.csv --target y --algorithm logistic --holdout 0.1 --out model.onnx --json --quiet`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.options.Algorithm == train.Logistic && !cmd.Flags().Changed("l2") {
				f.options.L2 = train.Defaults(train.Logistic).L2
			}
			return f.run(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.register(cmd)
	return cmd
}

// register declares the flags.
func (f *trainFlags) register(cmd *cobra.Command) {
	o, flags := &f.options, cmd.Flags()
	flags.StringVar(&f.columns.Target, "target", "", "column to predict (required)")
	flags.StringSliceVar(&f.columns.Features, "features", nil,
		"columns to predict from, in the order of the input (default: all others)")
	flags.StringVar(&f.out, "out", "", "file to write the model to (required)")
	flags.StringVar(&f.metrics, "metrics", "", "file to write the metrics to, as JSON")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	flags.BoolVar(&f.quiet, "quiet", false, "show no progress")
	flags.StringVar(&o.Algorithm, "algorithm", o.Algorithm, "gbdt (boosted trees) or logistic")
	flags.StringVar(&o.Task, "task", o.Task, "auto, classification or regression")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "boosting rounds, or most iterations of logistic regression")
	flags.IntVar(&o.MaxDepth, "depth", o.MaxDepth, "most splits from the root of a tree to a leaf; 0 is no bound")
	flags.IntVar(&o.MaxLeaves, "leaves", o.MaxLeaves, "most leaves of a tree")
	flags.Float64Var(&o.LearningRate, "learning-rate", o.LearningRate, "shrinkage of each tree")
	flags.Float64Var(&o.L2, "l2", o.L2, "L2 penalty (default 0 for trees, 1 for logistic)")
	flags.IntVar(&o.MinDataInLeaf, "min-data", o.MinDataInLeaf, "fewest rows of a leaf")
	flags.IntVar(&o.MaxBins, "bins", o.MaxBins, "most bins of a feature, up to 255")
	flags.Float64Var(&o.Subsample, "subsample", o.Subsample, "share of the rows drawn for each round")
	flags.Float64Var(&o.ColumnSample, "column-sample", o.ColumnSample, "share of the features drawn for each tree")
	flags.Float64Var(&o.Holdout, "holdout", o.Holdout, "share of the rows, the last ones, to measure on")
	flags.Uint64Var(&o.Seed, "seed", o.Seed, "seed of every random draw")
	flags.IntVar(&o.Threads, "threads", o.Threads, "threads; 0 is one per CPU (the result is the same)")
}

// trainResult is what stoa train --json prints.
type trainResult struct {
	Model       string             `json:"model"`
	Digest      string             `json:"digest"`
	Size        int                `json:"size"`
	Data        string             `json:"data"`
	DataDigest  string             `json:"data_digest"`
	Target      string             `json:"target"`
	Features    []string           `json:"features"`
	Task        string             `json:"task"`
	Classes     []string           `json:"classes,omitempty"`
	Rounds      int                `json:"rounds,omitempty"`
	Parameters  map[string]string  `json:"parameters"`
	Metrics     map[string]float64 `json:"metrics"`
	ReadSeconds float64            `json:"read_seconds"`
	FitSeconds  float64            `json:"fit_seconds"`
}

// run reads, fits and writes. Nothing is written unless all of it succeeded.
func (f *trainFlags) run(ctx context.Context, data string, stdout, stderr io.Writer) error {
	switch {
	case f.columns.Target == "":
		return &usageError{errors.New("--target is missing: name the column to predict")}
	case f.out == "":
		return &usageError{errors.New("--out is missing: name the file to write, such as model.onnx")}
	}
	if err := f.options.Check(); err != nil {
		return &usageError{err}
	}
	start := time.Now()
	table, err := train.ReadFile(ctx, data, f.columns)
	if err != nil {
		return trainError(err)
	}
	read := time.Since(start)
	progress := newProgress(stderr, f.quiet, f.options.Rounds)
	f.options.Progress = progress.update
	start = time.Now()
	model, err := train.Fit(ctx, table, f.options)
	fit := time.Since(start)
	progress.close()
	if err != nil {
		return trainError(err)
	}
	artifact, err := model.ONNX()
	if err != nil {
		return err
	}
	if f.metrics != "" {
		text, err := json.MarshalIndent(model.Metrics(), "", "  ")
		if err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
		if err := writeWhole(f.metrics, append(text, '\n')); err != nil {
			return err
		}
	}
	if err := writeWhole(f.out, artifact); err != nil {
		return err
	}
	sum := sha256.Sum256(artifact)
	result := trainResult{
		Model: f.out, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(artifact),
		Data: data, DataDigest: table.Digest, Target: f.columns.Target, Features: model.Features(), Task: model.Task(),
		Classes: model.Classes(), Rounds: model.Rounds(), Parameters: model.Parameters(), Metrics: model.Metrics(),
		ReadSeconds: read.Seconds(), FitSeconds: fit.Seconds(),
	}
	if f.json {
		return printJSON(stdout, result)
	}
	return result.print(stdout)
}

// print shows the result to a person.
func (r trainResult) print(w io.Writer) error {
	t := newTable(w, "model", r.Model)
	t.row("digest", r.Digest)
	t.row("trained on", fmt.Sprintf("%.0f rows × %d features in %.2f s",
		r.Metrics["rows_train"], len(r.Features), r.FitSeconds))
	t.row("measured on", fmt.Sprintf("the last %.0f rows", r.Metrics["rows_holdout"]))
	for _, name := range []string{"auc", "accuracy", "log_loss", "rmse", "mae", "r2"} {
		if v, ok := r.Metrics[name]; ok {
			t.row(strings.ReplaceAll(name, "_", " "), fmt.Sprintf("%.4f", v))
		}
	}
	return t.flush()
}

// trainError says what to do next in the way of the other commands.
func trainError(err error) error {
	var data *train.DataError
	switch {
	case errors.As(err, &data):
		plain := *data
		plain.Hint = ""
		return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: plain.Error(), Hint: data.Hint}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("training stopped, nothing was written: %w", err)
	}
	return err
}

// writeWhole writes a file so that a reader sees all of it or what was there before, even after a crash.
func writeWhole(path string, content []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails harmlessly once renamed
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// A progress shows the rounds done: as a bar on a terminal, else as a line at each tenth.
type progress struct {
	w     io.Writer
	group *mpb.Progress // nil when there is no bar
	bar   *mpb.Bar
	quiet bool
	tenth int
}

// newProgress starts to show progress on w.
func newProgress(w io.Writer, quiet bool, total int) *progress {
	p := &progress{w: w, quiet: quiet}
	if f, ok := w.(*os.File); ok && !quiet && term.IsTerminal(int(f.Fd())) {
		p.group = mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))
		p.bar = p.group.AddBar(int64(total), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("training "), decor.CountersNoUnit("%d/%d")),
			mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))
	}
	return p
}

// update shows that done of total rounds are finished.
func (p *progress) update(done, total int) {
	switch {
	case p.bar != nil:
		p.bar.SetCurrent(int64(done))
	case !p.quiet && done*10/total > p.tenth:
		p.tenth = done * 10 / total
		fmt.Fprintf(p.w, "training: round %d of %d\n", done, total)
	}
}

// close takes the bar away.
func (p *progress) close() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.group.Wait()
	}
}
