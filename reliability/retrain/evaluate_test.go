package retrain

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestEvaluate(t *testing.T) {
	holdout := filepath.Join(t.TempDir(), "holdout.csv")
	var text strings.Builder
	text.WriteString("id,class,price\n")
	for i := range 2000 {
		fmt.Fprintf(&text, "%d,UP,%d\n", i, 10*i)
	}
	write(t, holdout, text.String())
	// right returns a model that is right on the rows from a number on.
	right := func(from int) Predict {
		return func(_ context.Context, rows [][]string) ([]string, error) {
			decided := make([]string, len(rows))
			for i, row := range rows {
				n, err := strconv.Atoi(row[0])
				if err != nil || len(row) != 2 || row[1] != strconv.Itoa(n/10) {
					return nil, fmt.Errorf("features %q", row)
				}
				decided[i] = "DOWN"
				if n >= 10*from {
					decided[i] = "UP"
				}
			}
			return decided, nil
		}
	}
	for _, c := range []struct {
		champion, candidate int // rows each is wrong on
		margin              float64
		accepted            bool
	}{
		{200, 200, 0, false}, {200, 199, 0, true}, {199, 200, 0, false},
		{200, 190, 0.005, true}, {200, 191, 0.005, false}, {200, 0, 0.1, true}, {200, 1, 0.1, false},
	} {
		exam := Exam{Holdout: holdout, Features: []string{"price", "id"}, Target: "class", Margin: c.margin}
		g, err := Evaluate(t.Context(), exam, right(c.champion), right(c.candidate))
		if err != nil {
			t.Fatal(err)
		}
		if g.Accepted != c.accepted || g.Rows != 2000 || g.Champion != 1-float64(c.champion)/2000 || g.Why == "" {
			t.Errorf("%+v: gate %+v", c, g)
		}
	}
	exam := Exam{Holdout: holdout, Features: []string{"price", "id"}, Target: "class"}
	if g, err := Evaluate(t.Context(), exam, nil, right(100)); err != nil || !g.Accepted || g.Candidate != 0.95 {
		t.Errorf("without a champion: %+v, %v; want it accepted", g, err)
	}
	short := func(context.Context, [][]string) ([]string, error) { return nil, nil }
	if _, err := Evaluate(t.Context(), exam, nil, short); err == nil {
		t.Error("a model that answers nothing was accepted")
	}
	if _, err := Evaluate(t.Context(), exam, nil, nil); err == nil {
		t.Error("no candidate was accepted")
	}
	exam.Features = []string{"none"}
	if _, err := Evaluate(t.Context(), exam, nil, right(0)); err == nil {
		t.Error("an unknown feature was accepted")
	}
}

func TestMcNemar(t *testing.T) {
	// Computed in exact rational arithmetic: 2·Σ C(b+c, k) / 2^(b+c) over k up to min(b, c).
	for _, c := range []struct {
		b, c int
		want float64
	}{{0, 0, 1}, {5, 5, 1}, {10, 0, 0.001953125}, {1, 9, 0.021484375}, {59, 6, 4.964650327e-12}, {500, 600, 0.00281954499}} {
		if got := mcNemar(c.b, c.c); math.Abs(got-c.want) > 1e-8*c.want {
			t.Errorf("%d and %d: %.6g; want %.6g", c.b, c.c, got, c.want)
		}
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	cooldown := Cooldown{Labels: 100, Time: time.Hour}
	for _, c := range []struct {
		labels int64
		last   Last
		due    bool
	}{
		{0, Last{}, true},
		{500, Last{At: now.Add(-time.Hour), Labels: 400}, true},
		{499, Last{At: now.Add(-time.Hour), Labels: 400}, false},
		{500, Last{At: now.Add(-time.Hour + time.Second), Labels: 400}, false},
		{500, Last{At: now.Add(-time.Hour), Labels: 0, Active: true}, false},
	} {
		due, why := Due(cooldown, now, c.labels, c.last)
		if due != c.due || (why == "") != due {
			t.Errorf("%+v: %t because %q; want %t", c, due, why, c.due)
		}
	}
}
