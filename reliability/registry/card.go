package registry

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
)

// A Card is the model card of a version: its lineage, and the same as a page to read.
type Card struct {
	Lineage  *Lineage `json:"lineage"`
	Markdown string   `json:"markdown"`
}

// Card makes the model card. It says what is recorded and nothing else: what is not known is said to be not known.
func (l *Lineage) Card() Card { return Card{Lineage: l, Markdown: l.Markdown()} }

// Markdown gives the lineage as a page in GitHub's Markdown.
func (l *Lineage) Markdown() string {
	p := &page{}
	v := l.Version
	p.line("# %s, version %d", plain(v.Model), v.Number)
	if l.Description != "" {
		p.line("%s", plain(l.Description))
	}
	p.table([]string{"", ""}, [][]string{
		{"status", l.status()}, {"aliases", or(strings.Join(l.Aliases, ", "), "none")}, {"stage", l.Stage},
		{"registered", stamp(v.CreatedAt) + " by " + v.CreatedBy}, {"artifact", or(v.Digest, "none in this registry")},
		{"format", or(v.Format, "unknown")}, {"source", or(v.Source, "registered directly")},
	})
	p.line("## Inputs and outputs")
	p.specs("input", v.Inputs, "output", v.Outputs)
	p.line("## Where it comes from")
	l.origin(p)
	p.line("## Evaluation")
	p.pairs("metric", "value", numbers(v.Metrics), "No metric was registered with the version.")
	var gates [][]string
	for _, g := range l.Gates {
		gates = append(gates, []string{g.Name, passed(g.Passed), g.Detail, g.By, stamp(g.At)})
	}
	p.rows([]string{"gate", "result", "detail", "run by", "at"}, gates, "No gate has been run on it.")
	p.line("## Rollouts and decisions")
	var decided [][]string
	for _, d := range slices.Concat(l.Rollouts, l.Decisions) {
		decided = append(decided, []string{
			strconv.FormatInt(d.Entry, 10), string(d.Kind), string(d.State), d.ProposedBy, d.deciders(), d.Why,
		})
	}
	p.rows([]string{"entry", "kind", "state", "proposed by", "decided by", "why"}, decided,
		"Nothing was decided about it.")
	var moved [][]string
	for _, m := range l.Moves {
		moved = append(moved, []string{stamp(m.At), m.Alias, m.text(), m.By, m.Why})
	}
	p.rows([]string{"at", "alias", "move", "by", "why"}, moved, "No alias has pointed at it.")
	return p.String()
}

// origin writes the run, the data, the code and the parents.
func (l *Lineage) origin(p *page) {
	run, parameters := "none is named", l.Version.Parameters
	if l.Version.RunID != "" {
		run = l.Version.RunID
	}
	if l.RunMissing != "" {
		run += ": " + l.RunMissing
	}
	if l.Run != nil {
		run = strings.Join(slices.DeleteFunc([]string{l.Run.ID, l.Run.Name, l.Run.Experiment, l.Run.User},
			func(s string) bool { return s == "" }), ", ")
		if len(parameters) == 0 {
			parameters = l.Run.Parameters
		}
	}
	rows := [][]string{{"run", run}, {"code", or(l.Commit, "not recorded")}}
	for _, d := range l.Data {
		rows = append(rows, []string{"data", strings.TrimSpace(d.Context+" "+d.Name) + " " + d.Digest})
	}
	if len(l.Data) == 0 {
		rows = append(rows, []string{"data", "not recorded"})
	}
	for _, a := range l.Ancestors {
		rows = append(rows, []string{"ancestor", fmt.Sprintf("version %d, registered %s by %s", a.Version,
			stamp(a.CreatedAt), a.CreatedBy)})
	}
	p.table([]string{"", ""}, rows)
	p.pairs("parameter", "value", parameters, "No parameter was recorded.")
}

// status says whether a version serves.
func (l *Lineage) status() string {
	switch {
	case slices.Contains(l.Aliases, stoa.AliasChampion):
		return "in service"
	case l.Version.Servable:
		return "servable, not in service"
	}
	return "not servable in this process: " + l.Version.Unservable
}

// deciders names everybody who decided.
func (d *Decision) deciders() string {
	names := []string{}
	for _, a := range d.Approvals {
		names = append(names, a.By)
	}
	if d.DecidedBy != "" && !slices.Contains(names, d.DecidedBy) {
		names = append(names, d.DecidedBy)
	}
	return strings.Join(names, ", ")
}

// text says from where to where an alias moved.
func (m *AliasMove) text() string {
	switch {
	case m.From == 0:
		return fmt.Sprintf("to version %d", m.To)
	case m.To == 0:
		return fmt.Sprintf("removed from version %d", m.From)
	}
	return fmt.Sprintf("from version %d to %d", m.From, m.To)
}

func passed(ok bool) string {
	if ok {
		return "passed"
	}
	return "failed"
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 UTC") }

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func numbers(metrics map[string]float64) map[string]string {
	texts := make(map[string]string, len(metrics))
	for name, value := range metrics {
		texts[name] = strconv.FormatFloat(value, 'g', 6, 64)
	}
	return texts
}

// A page collects Markdown. What people wrote is escaped in it: it is text, never markup.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n\n", args...) }

// rows writes a table, or says that there is none.
func (p *page) rows(head []string, rows [][]string, none string) {
	if len(rows) == 0 {
		p.line("%s", none)
		return
	}
	p.table(head, rows)
}

func (p *page) table(head []string, rows [][]string) {
	fmt.Fprintf(p, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		for _, cell := range row {
			p.WriteString("| " + plain(cell) + " ")
		}
		p.WriteString("|\n")
	}
	p.WriteString("\n")
}

func (p *page) pairs(key, value string, m map[string]string, none string) {
	var rows [][]string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		rows = append(rows, []string{k, m[k]})
	}
	p.rows([]string{key, value}, rows, none)
}

func (p *page) specs(in string, inputs []stoa.TensorSpec, out string, outputs []stoa.TensorSpec) {
	var rows [][]string
	for _, group := range []struct {
		what  string
		specs []stoa.TensorSpec
	}{{in, inputs}, {out, outputs}} {
		for _, s := range group.specs {
			rows = append(rows, []string{group.what, s.Name, string(s.Datatype), fmt.Sprint(s.Shape)})
		}
	}
	p.rows([]string{"", "name", "type", "shape"}, rows, "Not known: there is no artifact to read them from.")
}

// plain makes a text safe to stand in a line of Markdown.
func plain(text string) string {
	var b strings.Builder
	for _, c := range text {
		switch {
		case c == '\n' || c == '\r' || c == '\t':
			b.WriteByte(' ')
		case strings.ContainsRune("\\`*_[]<>|#!", c):
			b.WriteByte('\\')
			b.WriteRune(c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
