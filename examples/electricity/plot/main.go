// Command plot draws the result of the electricity replay (replay --result FILE) as an SVG: the accuracy of each
// predictor, month by month.
//
//	go run ./examples/electricity/plot bench/results/demo.json docs/demo.svg
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plot RESULT.json OUT.svg")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	raw, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	var result struct {
		Months []month `json:"by_month"`
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	if len(result.Months) < 2 {
		return fmt.Errorf("%s has no months to draw: replay the whole market with --result", in)
	}
	return os.WriteFile(out, []byte(draw(result.Months)), 0o644)
}

// A month is one point of every line.
type month struct {
	Name    string  `json:"period"`
	Managed float64 `json:"managed"`
	Weekly  float64 `json:"weekly"`
	Frozen  float64 `json:"frozen"`
	Naive   float64 `json:"naive"`
}

// The drawing, in pixels, and the range of accuracies that it shows.
const (
	width, height            = 960, 380
	left, right, top, bottom = 56, 150, 24, 40
	least, most              = 0.30, 0.95
)

func x(i, n int) float64 { return left + float64(i)/float64(n-1)*(width-left-right) }
func y(v float64) float64 {
	return top + (most-max(least, min(most, v)))/(most-least)*(height-top-bottom)
}

// draw renders the chart. Colours are readable on light and on dark pages.
func draw(months []month) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui,sans-serif" font-size="13">
<title>Accuracy by month of the electricity replay</title>
<rect width="%d" height="%d" rx="12" fill="#fbf8f1"/>
`, width, height, width, height)
	for v := 0.3; v < 0.95; v += 0.1 {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#e2dccb"/><text x="%d" y="%.1f" fill="#5b6673" text-anchor="end">%.0f %%</text>`+"\n",
			left, y(v), width-right, left-8, y(v)+4, 100*v)
	}
	for i, m := range months {
		if strings.HasSuffix(m.Name, "-01") || strings.HasSuffix(m.Name, "-07") {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#5b6673" text-anchor="middle">%s</text>`+"\n", x(i, len(months)), height-14, m.Name)
		}
	}
	type line struct {
		name, colour, style string
		value               func(month) float64
		label               float64 // where its name is written
	}
	last := months[len(months)-1]
	lines := []line{
		{"version 1, left alone", "#b4512f", `stroke-width="2"`, func(m month) float64 { return m.Frozen }, last.Frozen},
		{"naive", "#8a94a0", `stroke-width="2" stroke-dasharray="5 4"`, func(m month) float64 { return m.Naive }, last.Naive},
		{"weekly, on schedule", "#c79a3b", `stroke-width="2"`, func(m month) float64 { return m.Weekly }, last.Weekly},
		{"Stoa, on evidence", "#23567a", `stroke-width="3"`, func(m month) float64 { return m.Managed }, last.Managed},
	}
	spread(func(i int) *float64 { return &lines[i].label }, len(lines))
	for _, l := range lines {
		var path strings.Builder
		for i, m := range months {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x(i, len(months)), y(l.value(m)))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" %s stroke-linejoin="round"/>`+"\n", path.String(), l.colour, l.style)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" fill="%s">%s</text>`+"\n", width-right+8, y(l.label)+4, l.colour, l.name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// spread moves labels apart that would cover one another, from the highest down.
func spread(at func(int) *float64, n int) {
	const apart = 0.035
	order := make([]int, n)
	for i := range order {
		order[i] = i
		for j := i; j > 0 && *at(order[j]) > *at(order[j-1]); j-- {
			order[j], order[j-1] = order[j-1], order[j]
		}
	}
	for k := 1; k < n; k++ {
		if above := *at(order[k-1]); *at(order[k]) > above-apart {
			*at(order[k]) = above - apart
		}
	}
}
