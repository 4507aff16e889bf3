package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp walks the whole command tree: every command says in a line what it does, every command that does something
// shows an example that starts with itself, every flag is described, and help for each can be printed.
func TestHelp(t *testing.T) {
	seen := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		seen++
		name := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short text is %q", name, c.Short)
		}
		if !c.HasSubCommands() && !strings.Contains(c.Example, name) {
			t.Errorf("%s: no example calls it: %q", name, c.Example)
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if n := len([]rune(line)); n > 121 {
				t.Errorf("%s: a line of its help is %d wide: %s", name, n, line)
			}
		}
		for line := range strings.Lines(c.LocalFlags().FlagUsages()) {
			if flag, text, _ := strings.Cut(strings.TrimSpace(line), "   "); strings.TrimSpace(text) == "" {
				t.Errorf("%s: flag %s has no description", name, flag)
			}
		}
		var out, errs bytes.Buffer
		args := append(strings.Fields(name)[1:], "--help")
		if code := Main(args, strings.NewReader(""), &out, &errs); code != 0 || errs.Len() > 0 {
			t.Errorf("%s --help: exit %d, %s", name, code, &errs)
		}
		if !strings.Contains(out.String(), "Usage:\n  "+name) {
			t.Errorf("%s --help prints:\n%s", name, &out)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	if seen < 25 {
		t.Errorf("walked %d commands only", seen)
	}
}
