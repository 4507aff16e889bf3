package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
)

func newLineageCommand(f *remoteFlags) *cobra.Command {
	var card bool
	c := &cobra.Command{
		Use:   "lineage MODEL[@VERSION]",
		Short: "Where a version comes from, and what became of it",
		Long: `Show, as a tree, the run, the data, the code and the parents of a version, the gates that it stood before, and what
was decided about it. The version is a number, an alias or a digest; without one it is the champion.`,
		Example: `  stoa lineage price
  stoa lineage price@3
  stoa lineage price@champion --card > MODEL_CARD.md`,
		Args: cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			model, ref := args[0], stoa.AliasChampion
			if at := strings.LastIndexByte(model, '@'); at > 0 {
				model, ref = model[:at], model[at+1:]
			}
			path := "/v1/models/" + url.PathEscape(model) + "/versions/" + url.PathEscape(ref)
			if card {
				return printCard(cmd, f, r, path+"/card")
			}
			var raw []byte
			if f.json {
				if err := r.send(cmd.Context(), http.MethodGet, path+"/lineage", nil, &raw); err != nil {
					return err
				}
				_, err := cmd.OutOrStdout().Write(raw)
				return err
			}
			var answer lineage
			if err := r.send(cmd.Context(), http.MethodGet, path+"/lineage", nil, &answer); err != nil {
				return err
			}
			return answer.tree().print(cmd.OutOrStdout())
		}),
	}
	c.Flags().BoolVar(&card, "card", false, "print the model card, in Markdown")
	return c
}

// printCard prints the model card of a version.
func printCard(cmd *cobra.Command, f *remoteFlags, r *remote, path string) error {
	var card struct {
		Lineage  any    `json:"lineage"`
		Markdown string `json:"markdown"`
	}
	if err := r.send(cmd.Context(), http.MethodGet, path, nil, &card); err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), card)
	}
	_, err := io.WriteString(cmd.OutOrStdout(), card.Markdown)
	return err
}

// lineage is what the server tells of a version, as far as the tree shows it.
type lineage struct {
	Version stoa.Version `json:"version"`
	Aliases []string     `json:"aliases"`
	Run     *struct {
		ID         string `json:"run_id"`
		Name       string `json:"name"`
		Experiment string `json:"experiment"`
		User       string `json:"user"`
	} `json:"run"`
	RunMissing string `json:"run_missing"`
	Data       []struct {
		Name    string `json:"name"`
		Digest  string `json:"digest"`
		Context string `json:"context"`
	} `json:"data"`
	Commit    string `json:"commit"`
	Ancestors []struct {
		Version   int       `json:"version"`
		CreatedAt time.Time `json:"created_at"`
		CreatedBy string    `json:"created_by"`
	} `json:"ancestors"`
	Gates []struct {
		Gate   string `json:"gate"`
		Passed bool   `json:"passed"`
		Detail string `json:"detail"`
	} `json:"gates"`
	Rollouts  []decision `json:"rollouts"`
	Decisions []decision `json:"decisions"`
	Moves     []struct {
		Alias string    `json:"alias"`
		From  int       `json:"from"`
		To    int       `json:"to"`
		By    string    `json:"by"`
		At    time.Time `json:"at"`
	} `json:"moves"`
}

// decision is an entry of the ledger about a version.
type decision struct {
	Entry      int64  `json:"entry"`
	Kind       string `json:"kind"`
	State      string `json:"state"`
	ProposedBy string `json:"proposed_by"`
	DecidedBy  string `json:"decided_by"`
	Why        string `json:"why"`
	Approvals  []struct {
		By string `json:"by"`
	} `json:"approvals"`
}

// A branch is a line of a tree with what hangs below it.
type branch struct {
	text  string
	below []*branch
}

// add hangs a line below b, and returns it.
func (b *branch) add(format string, args ...any) *branch {
	under := &branch{text: fmt.Sprintf(format, args...)}
	b.below = append(b.below, under)
	return under
}

// print draws the tree.
func (b *branch) print(w io.Writer) error {
	if _, err := fmt.Fprintln(w, printable(b.text)); err != nil {
		return err
	}
	return b.printBelow(w, "")
}

func (b *branch) printBelow(w io.Writer, indent string) error {
	for i, under := range b.below {
		joint, next := "├─ ", "│  "
		if i == len(b.below)-1 {
			joint, next = "└─ ", "   "
		}
		if _, err := fmt.Fprintln(w, indent+joint+printable(under.text)); err != nil {
			return err
		}
		if err := under.printBelow(w, indent+next); err != nil {
			return err
		}
	}
	return nil
}

// printable keeps what people wrote on its line, and control characters from the terminal.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text))
}

// tree lays the lineage out.
func (l *lineage) tree() *branch {
	v := l.Version
	root := &branch{text: fmt.Sprintf("%s version %d", v.Model, v.Number)}
	if len(l.Aliases) > 0 {
		root.text += " (" + strings.Join(l.Aliases, ", ") + ")"
	}
	if !v.Servable {
		root.add("not servable: %s", v.Unservable)
	}
	root.add("registered %s by %s", day(v.CreatedAt), v.CreatedBy)
	l.addOrigin(root)
	if len(l.Gates) > 0 {
		gates := root.add("evaluation")
		for _, g := range l.Gates {
			result := "failed"
			if g.Passed {
				result = "passed"
			}
			gates.add("%s %s %s", g.Gate, result, g.Detail)
		}
	}
	addDecisions(root, "rollouts", l.Rollouts)
	addDecisions(root, "decisions", l.Decisions)
	if len(l.Moves) > 0 {
		moves := root.add("aliases")
		for _, m := range l.Moves {
			moves.add("%s %s: %s by %s", day(m.At), m.Alias, fromTo(m.From, m.To), m.By)
		}
	}
	return root
}

// addOrigin adds the run with its data and code, and the parents.
func (l *lineage) addOrigin(root *branch) {
	made := root
	switch {
	case l.Run != nil:
		made = root.add("run %s %s", l.Run.ID, l.Run.Name)
		if l.Run.Experiment != "" {
			made.text += " of experiment " + l.Run.Experiment
		}
		if l.Run.User != "" {
			made.text += " by " + l.Run.User
		}
	case l.Version.RunID != "":
		made = root.add("run %s: %s", l.Version.RunID, l.RunMissing)
	}
	for _, d := range l.Data {
		made.add("data %s %s", d.Name, d.Digest)
	}
	if l.Commit != "" {
		made.add("code %s", l.Commit)
	}
	parent := root
	for _, a := range l.Ancestors {
		parent = parent.add("parent version %d, registered %s by %s", a.Version, day(a.CreatedAt), a.CreatedBy)
	}
}

func addDecisions(root *branch, title string, list []decision) {
	if len(list) == 0 {
		return
	}
	under := root.add("%s", title)
	for _, d := range list {
		people := []string{}
		for _, a := range d.Approvals {
			people = append(people, a.By)
		}
		if d.DecidedBy != "" && !slices.Contains(people, d.DecidedBy) {
			people = append(people, d.DecidedBy)
		}
		line := under.add("entry %d, %s: %s; proposed by %s", d.Entry, d.Kind, d.State, d.ProposedBy)
		if len(people) > 0 {
			line.text += ", decided by " + strings.Join(people, " and ")
		}
		if d.Why != "" {
			line.text += ": " + d.Why
		}
	}
}

func fromTo(from, to int) string {
	switch {
	case from == 0:
		return fmt.Sprintf("to version %d", to)
	case to == 0:
		return fmt.Sprintf("removed from version %d", from)
	}
	return fmt.Sprintf("from version %d to version %d", from, to)
}

func day(at time.Time) string { return at.UTC().Format(time.DateOnly) }
