package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A result is the end of the story, as printed and as written to --result.
type result struct {
	Predictions int            `json:"predictions"`
	Failed      int            `json:"failed"`
	Fallbacks   map[string]int `json:"fallbacks"`
	Accuracy    struct {
		Managed float64 `json:"managed"`
		Weekly  float64 `json:"weekly"`
		Frozen  float64 `json:"frozen"`
		Naive   float64 `json:"naive"`
	} `json:"accuracy"`
	Retrained counts   `json:"lifecycle"`
	Weeks     int      `json:"weekly_retrainings"`
	Champion  int      `json:"champion"`
	P50       float64  `json:"p50_ms"`
	P99       float64  `json:"p99_ms"`
	ByQuarter []period `json:"by_quarter"`
	ByMonth   []period `json:"by_month"`
}

// A period is a quarter or a month of the market, and the accuracies over it.
type period struct {
	Name    string  `json:"period"`
	Managed float64 `json:"managed"`
	Weekly  float64 `json:"weekly"`
	Frozen  float64 `json:"frozen"`
	Naive   float64 `json:"naive"`
}

func (r *replay) summarise(weekly, frozen []string, state lifecycle) *result {
	n := len(r.rows)
	res := &result{
		Predictions: n - r.first, Failed: r.failed, Fallbacks: r.fallbacks,
		Retrained: state.Counts, Champion: state.Champion, Weeks: (n - r.first + week - 1) / week,
	}
	res.Accuracy.Managed = accuracy(r.managed, r.rows, r.first, n)
	res.Accuracy.Weekly = accuracy(weekly, r.rows, r.first, n)
	res.Accuracy.Frozen = accuracy(frozen, r.rows, r.first, n)
	res.Accuracy.Naive = naiveAccuracy(r.rows, r.first, n)
	res.P50, res.P99 = quantile(r.latency, 0.50), quantile(r.latency, 0.99)

	res.ByQuarter = r.periods(weekly, frozen, quarterOf)
	res.ByMonth = r.periods(weekly, frozen, func(i int) string { return dateOf(i).Format("2006-01") })
	return res
}

// periods cuts the replay where the name changes.
func (r *replay) periods(weekly, frozen []string, name func(row int) string) []period {
	var list []period
	for from, n := r.first, len(r.rows); from < n; {
		to := from
		for to < n && name(to) == name(from) {
			to++
		}
		list = append(list, period{
			Name: name(from), Managed: accuracy(r.managed, r.rows, from, to), Weekly: accuracy(weekly, r.rows, from, to),
			Frozen: accuracy(frozen, r.rows, from, to), Naive: naiveAccuracy(r.rows, from, to),
		})
		from = to
	}
	return list
}

func quarterOf(i int) string {
	d := dateOf(i)
	return fmt.Sprintf("%d Q%d", d.Year(), (int(d.Month())+2)/3)
}

// quantile returns the q-quantile of d in milliseconds.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return float64(sorted[int(q*float64(len(sorted)-1))]) / float64(time.Millisecond)
}

func (res *result) print(w io.Writer) {
	rule := strings.Repeat("─", 74)
	fmt.Fprintf(w, "\n%s\n%-46s %9s %12s\n%s\n", rule, "who predicted", "accuracy", "retrainings", rule)
	line := func(who string, acc float64, retrained string) {
		fmt.Fprintf(w, "%-46s %8.2f%% %12s\n", who, 100*acc, retrained)
	}
	line("version 1, left alone", res.Accuracy.Frozen, "0")
	line("naive: repeat the last label known", res.Accuracy.Naive, "–")
	line("retrained every week, on schedule", res.Accuracy.Weekly, fmt.Sprint(res.Weeks))
	line("Stoa: retrained on evidence", res.Accuracy.Managed, fmt.Sprint(res.Retrained.Retrainings))
	fmt.Fprintf(w, "%s\n%-10s %14s %10s %10s %10s\n", rule, "quarter", "version 1", "naive", "weekly", "Stoa")
	for _, q := range res.ByQuarter {
		fmt.Fprintf(w, "%-10s %13.1f%% %9.1f%% %9.1f%% %9.1f%%\n", q.Name, 100*q.Frozen, 100*q.Naive, 100*q.Weekly, 100*q.Managed)
	}
	c := res.Retrained
	fmt.Fprintf(w, "%s\n", rule)
	fmt.Fprintf(w, "decay alarms %d · retrainings %d · candidates blocked by the gate %d · withdrawn in rollout %d\n",
		c.Alarms, c.Retrainings, c.Blocked, c.Withdrawn)
	fmt.Fprintf(w, "promotions %d · roll-backs from live traffic %d · champion now version %d\n", c.Promotions, c.RolledBack, res.Champion)
	fmt.Fprintf(w, "predictions %d · failed %d · answered by a fallback %d %v\n", res.Predictions, res.Failed, total(res.Fallbacks), reasons(res.Fallbacks))
	fmt.Fprintf(w, "latency p50 %.2f ms · p99 %.2f ms (as the client saw it, %d at a time)\n%s\n", res.P50, res.P99, clients, rule)
}

func reasons(m map[string]int) string {
	var parts []string
	for k, v := range m {
		parts = append(parts, fmt.Sprintf("%s %d", k, v))
	}
	slices.Sort(parts)
	return "(" + strings.Join(parts, ", ") + ")"
}

// printNext says what to try on the data directory of this run.
func printNext(w io.Writer, srv *server, o options) {
	fmt.Fprintf(w, "\nTry next:\n")
	if !o.stay {
		fmt.Fprintf(w, "  %s up %s --data %s        # serve it again (make demo STAY=1 leaves it serving)\n", o.stoa, srv.dir, srv.data)
	} else {
		fmt.Fprintf(w, "  export STOA_URL=%s STOA_KEY=$(cat %s/owner.key)\n", srv.url, srv.data)
	}
	fmt.Fprintf(w, "  %s audit verify --data %s\n", o.stoa, srv.data)
	fmt.Fprintf(w, "  %s models list --data %s\n", o.stoa, srv.data)
	fmt.Fprintf(w, "  %s status %s --data %s\n", o.stoa, endpoint, srv.data)
	fmt.Fprintf(w, "  %s proposals --data %s\n", o.stoa, srv.data)
	fmt.Fprintf(w, "  %s usage --data %s\n", o.stoa, srv.data)
}
