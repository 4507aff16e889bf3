package retrain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"
)

// A Predict decides the class of each row. The fields of a row are those of the features, in their order. A nil Predict
// stands for a version that does not exist.
type Predict func(ctx context.Context, rows [][]string) ([]string, error)

// An Exam is what a candidate has to pass.
type Exam struct {
	Holdout  string   // path of the hold-out, as [Result.Holdout]
	Features []string // columns that the models take, in their order
	Target   string   // column of the label
	Margin   float64  // accuracy by which the candidate must beat the champion, e.g. 0.005; 0 means strictly better
}

// A Gate is the outcome of an exam, with the numbers that made it.
type Gate struct {
	Accepted  bool    `json:"accepted"`
	Rows      int     `json:"rows"`
	Champion  float64 `json:"champion"`  // accuracy; 0 when there is none
	Candidate float64 `json:"candidate"` // accuracy
	Margin    float64 `json:"margin"`
	Won       int     `json:"won"`  // rows that only the candidate decided rightly
	Lost      int     `json:"lost"` // rows that only the champion decided rightly
	P         float64 `json:"p"`    // McNemar's exact two-sided p-value; 1 without a champion
	Why       string  `json:"why"`
}

// examined is how many rows are given to a model at once.
const examined = 1024

// Evaluate asks champion and candidate about the same hold-out and accepts the candidate when its accuracy is at least
// the champion's plus the margin, strictly more when the margin is 0. Without a champion any candidate that answers is
// accepted. The p-value is reported and does not decide: the rollout that follows does, on fresh labels.
func Evaluate(ctx context.Context, exam Exam, champion, candidate Predict) (Gate, error) {
	if candidate == nil {
		return Gate{}, errors.New("evaluate: there is no candidate")
	}
	if !(exam.Margin >= 0 && exam.Margin < 1) {
		return Gate{}, invalid(fmt.Sprintf("a margin of %g is not a difference of accuracies", exam.Margin), "use e.g. 0.005")
	}
	rows, truth, err := readExam(ctx, exam)
	if err != nil {
		return Gate{}, err
	}
	right, err := examine(ctx, candidate, rows, truth)
	if err != nil {
		return Gate{}, fmt.Errorf("candidate on the hold-out: %w", err)
	}
	g := Gate{Rows: len(rows), Margin: exam.Margin, P: 1, Candidate: share(right)}
	if champion == nil {
		g.Accepted = true
		g.Why = fmt.Sprintf("there is no champion; the candidate is right on %.2f%% of %d rows", 100*g.Candidate, g.Rows)
		return g, nil
	}
	before, err := examine(ctx, champion, rows, truth)
	if err != nil {
		return Gate{}, fmt.Errorf("champion on the hold-out: %w", err)
	}
	g.Champion = share(before)
	for i := range right {
		switch {
		case right[i] && !before[i]:
			g.Won++
		case before[i] && !right[i]:
			g.Lost++
		}
	}
	g.P = mcNemar(g.Won, g.Lost)
	g.decide()
	return g, nil
}

// decide compares in whole rows, so that a margin is not missed by a rounding error.
func (g *Gate) decide() {
	need := max(1, int(math.Ceil(g.Margin*float64(g.Rows)-1e-9)))
	g.Accepted = g.Won-g.Lost >= need
	verb := "does not beat"
	if g.Accepted {
		verb = "beats"
	}
	g.Why = fmt.Sprintf("on %d rows the candidate's %.2f%% %s the champion's %.2f%% by %d rows or more (it is %+d; p = %.2g)",
		g.Rows, 100*g.Candidate, verb, 100*g.Champion, need, g.Won-g.Lost, g.P)
}

// readExam returns the features and the labels of the hold-out.
func readExam(ctx context.Context, exam Exam) (rows [][]string, truth []string, err error) {
	f, err := os.Open(exam.Holdout)
	if err != nil {
		return nil, nil, fmt.Errorf("hold-out: %w", err)
	}
	defer f.Close()
	t, err := readWindow(ctx, f, exam.Target, "", math.MaxInt)
	if err != nil {
		return nil, nil, fmt.Errorf("hold-out: %w", err)
	}
	if len(t.rows) == 0 {
		return nil, nil, invalid("the hold-out has no labelled row", "use a larger window or hold-out")
	}
	label, err := t.column(exam.Target)
	if err != nil {
		return nil, nil, err
	}
	columns := make([]int, len(exam.Features))
	for i, name := range exam.Features {
		if columns[i], err = t.column(name); err != nil {
			return nil, nil, err
		}
	}
	for _, row := range t.rows {
		features := make([]string, len(columns))
		for i, c := range columns {
			features[i] = row[c]
		}
		rows, truth = append(rows, features), append(truth, row[label])
	}
	return rows, truth, nil
}

// examine reports for each row whether a model decides it rightly.
func examine(ctx context.Context, predict Predict, rows [][]string, truth []string) ([]bool, error) {
	right := make([]bool, 0, len(rows))
	for from := 0; from < len(rows); from += examined {
		to := min(from+examined, len(rows))
		decided, err := predict(ctx, rows[from:to])
		if err != nil {
			return nil, err
		}
		if len(decided) != to-from {
			return nil, fmt.Errorf("%d answers to %d rows: %w", len(decided), to-from, io.ErrUnexpectedEOF)
		}
		for i, class := range decided {
			right = append(right, class == truth[from+i])
		}
	}
	return right, nil
}

func share(right []bool) float64 {
	n := 0
	for _, r := range right {
		if r {
			n++
		}
	}
	return float64(n) / float64(len(right))
}

// mcNemar returns the exact two-sided p-value of McNemar's test: twice the binomial tail P(X ≤ min(b, c)) with
// X ~ Binomial(b+c, 1/2), at most 1.
func mcNemar(b, c int) float64 {
	n := b + c
	if n == 0 {
		return 1
	}
	all, _ := math.Lgamma(float64(n + 1))
	p := 0.0
	for k := 0; k <= min(b, c); k++ {
		in, _ := math.Lgamma(float64(k + 1))
		out, _ := math.Lgamma(float64(n - k + 1))
		p += math.Exp(all - in - out - float64(n)*math.Ln2)
	}
	return min(1, 2*p)
}

// A Cooldown says how much must have happened between two retrainings of a model. Both parts must be over.
type Cooldown struct {
	Labels int64         // new labels since the last retraining was proposed
	Time   time.Duration // since then
}

// A Last is the last retraining of a model; the zero Last means that there was none.
type Last struct {
	At     time.Time `json:"at,omitzero"`      // when it was proposed
	Labels int64     `json:"labels,omitempty"` // labels of the model until then
	Active bool      `json:"active,omitempty"` // it has not ended yet
}

// Due reports whether a model may be retrained now, and if not, why. labels counts all labels of the model so far.
func Due(c Cooldown, now time.Time, labels int64, last Last) (bool, string) {
	switch {
	case last.Active:
		return false, "a retraining of the model is under way"
	case last.At.IsZero():
		return true, ""
	case now.Sub(last.At) < c.Time:
		return false, fmt.Sprintf("the last retraining was %s ago; the cooldown is %s",
			now.Sub(last.At).Round(time.Second), c.Time)
	case labels-last.Labels < c.Labels:
		return false, fmt.Sprintf("%d labels came since the last retraining; the cooldown is %d", labels-last.Labels, c.Labels)
	}
	return true, ""
}
