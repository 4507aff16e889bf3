package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// A view shows the replay on a terminal: a frame of a few lines that is drawn again as things move, with the events
// scrolling by above it. Where the output is not a terminal it prints the events, and a line now and then.
type view struct {
	mu     sync.Mutex
	w      io.Writer
	live   bool // draws the frame
	width  int
	total  int
	now    progress
	model  lifecycle
	spark  []spark
	drawn  int // lines of the frame on the screen
	last   time.Time
	began  time.Time
	marked int // percent last printed where there is no frame
}

// A spark is one column of the accuracy chart.
type spark struct{ managed, naive float64 }

// A progress is how far the replay has come.
type progress struct {
	done      int
	date      time.Time
	recent    float64 // accuracy over the last 28 days
	naive     float64 // of the naive rule over the same days
	failed    int
	fallbacks int
}

func newView(w *os.File, plain bool, total int) *view {
	v := &view{w: w, total: total, began: time.Now(), width: 100}
	if !plain && term.IsTerminal(int(w.Fd())) {
		v.live = true
		if width, _, err := term.GetSize(int(w.Fd())); err == nil {
			v.width = width
		}
	}
	return v
}

// note prints a line of the story.
func (v *view) note(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.line("", fmt.Sprintf(format, args...))
}

// event prints an event of the ledger that moves the story on. The others are in `stoa audit log`.
func (v *view) event(e event) {
	text := strings.TrimPrefix(e.Text, endpoint+": ")
	colour := "\x1b[36m"
	switch e.Kind + " " + e.What {
	case "retrain entry.proposed":
		// The clock of the statement is the wall's, not the market's.
		text, _, _ = strings.Cut("decay: "+strings.TrimPrefix(text, "retrain proposed: "), ", since ")
		colour = "\x1b[33m"
	case "retrain entry.failed", "rollout entry.failed":
		colour = "\x1b[31m"
	case "rollout entry.done":
		if strings.Contains(text, "promoted") {
			colour = "\x1b[32m"
		}
	case "retrain entry.done", "rollout entry.step.shadow", "rollout entry.step.canary":
	default:
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.line(colour, text)
}

// line prints text above the frame, under the market's date.
func (v *view) line(colour, text string) {
	stamp := "          "
	if !v.now.date.IsZero() {
		stamp = v.now.date.Format(time.DateOnly)
	}
	if !v.live {
		fmt.Fprintf(v.w, "%s  %s\n", stamp, text)
		return
	}
	v.erase()
	fmt.Fprintf(v.w, "\x1b[2m%s\x1b[0m  %s%s\x1b[0m\n", stamp, colour, text)
	v.draw()
}

// state takes the newest state of the model's lifecycle.
func (v *view) state(s lifecycle) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.model = s
}

// progress takes how far the replay has come, and draws at most twenty times a second.
func (v *view) progress(p progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = p
	if cols := min(72, v.width-12); cols > 0 && p.done*cols/v.total > len(v.spark) {
		v.spark = append(v.spark, spark{p.recent, p.naive})
	}
	if !v.live {
		if percent := p.done * 100 / v.total; percent >= v.marked+10 {
			v.marked = percent - percent%10
			fmt.Fprintf(v.w, "%s  %3d %% replayed, accuracy over 28 days %.1f %% (naive %.1f %%), version %d serves\n",
				p.date.Format(time.DateOnly), v.marked, 100*p.recent, 100*p.naive, v.model.Champion)
		}
		return
	}
	if time.Since(v.last) > 50*time.Millisecond || p.done == v.total {
		v.last = time.Now()
		v.erase()
		v.draw()
	}
}

// finish leaves the last frame on the screen.
func (v *view) finish() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drawn = 0
}

func (v *view) erase() {
	if v.drawn > 0 {
		fmt.Fprintf(v.w, "\x1b[%dA\x1b[J", v.drawn)
		v.drawn = 0
	}
}

func (v *view) draw() {
	if v.now.done == 0 {
		return
	}
	var b strings.Builder
	cols := max(10, min(72, v.width-12))
	full := v.now.done * cols / v.total
	rate := float64(v.now.done) / max(0.001, time.Since(v.began).Seconds())
	fmt.Fprintf(&b, "\x1b[2m%s\x1b[0m\n", strings.Repeat("─", min(v.width, cols+12)))
	fmt.Fprintf(&b, "%s  \x1b[36m%s\x1b[2m%s\x1b[0m\n", v.now.date.Format(time.DateOnly), strings.Repeat("█", full), strings.Repeat("░", cols-full))
	fmt.Fprintf(&b, "accuracy    \x1b[32m%s\x1b[0m %.1f %%\n", v.chart(func(s spark) float64 { return s.managed }), 100*v.now.recent)
	fmt.Fprintf(&b, "naive       \x1b[2m%s\x1b[0m %.1f %%\n", v.chart(func(s spark) float64 { return s.naive }), 100*v.now.naive)
	fmt.Fprintf(&b, "version %-3d  %s\n", v.model.Champion, v.phase())
	fmt.Fprintf(&b, "%d of %d half-hours · %.0f/s · failed %d · fallbacks %d\n",
		v.now.done, v.total, rate, v.now.failed, v.now.fallbacks)
	v.drawn = strings.Count(b.String(), "\n")
	fmt.Fprint(v.w, b.String())
}

// chart draws one value of each spark between 50 % and 90 %.
func (v *view) chart(value func(spark) float64) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, s := range v.spark {
		i := int((value(s) - 0.50) / 0.40 * float64(len(steps)))
		b.WriteRune(steps[max(0, min(len(steps)-1, i))])
	}
	return b.String()
}

func (v *view) phase() string {
	switch {
	case v.model.Rollout != nil:
		return fmt.Sprintf("version %d in %s", v.model.Rollout.Challenger, v.model.Rollout.Phase)
	case v.model.Decay != nil && v.model.Decay.Threshold > 0:
		return fmt.Sprintf("decay statistic %.0f of %.0f", v.model.Decay.Statistic, v.model.Decay.Threshold)
	}
	return ""
}
