// Package cli is the door of the house: one file per command.
//
// Rules of the interface. A command prints its result on standard output and everything else on standard error; with
// --json the result is one JSON document. An error is one line that says what is wrong, followed by one that says what
// to do next. A command that reaches a server finds it by --url or STOA_URL, and its key in STOA_KEY; with --data (or
// in a workload's own directory) it finds both in the data directory of the server. A result of 0 means that what was
// asked for is done, 1 that it is not, 2 that the command line was wrong.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
)

// Main runs the command line and returns the exit code of the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	printError(stderr, cmd, err)
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// A usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func printError(w io.Writer, cmd *cobra.Command, err error) {
	var refusal *stoa.Refusal
	if errors.As(err, &refusal) {
		fmt.Fprintf(w, "stoa: %s\n", refusal.Message)
		if refusal.Err != nil {
			fmt.Fprintf(w, "  because: %v\n", refusal.Err)
		}
		if refusal.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", refusal.Hint)
		}
		return
	}
	fmt.Fprintf(w, "stoa: %v\n", err)
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(w, "  hint: %s --help\n", cmd.CommandPath())
	}
}

// newRoot builds the whole command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "stoa",
		Short: "Run AI workloads that are well architected, and prove it",
		Long: `Stoa runs an AI workload (its models, endpoints, data and promises, described in one file) behind one gateway:
it serves, falls back, notices decay, retrains, and lets a successor in only on evidence.`,
		Example: `  stoa init my-workload && stoa up my-workload
  stoa train data.csv --target class --out model.onnx
  stoa models register my-model model.onnx --promote --data my-workload/.stoa`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	remote := &remoteFlags{}
	root.PersistentFlags().StringVar(&remote.url, "url", "", "address of a running server (default: $STOA_URL, or found in --data)")
	root.PersistentFlags().StringVar(&remote.data, "data", "", "data directory of the server (default: .stoa in the workload directory)")
	root.PersistentFlags().BoolVar(&remote.json, "json", false, "print the result as JSON")

	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run a workload:"},
		&cobra.Group{ID: "model", Title: "Models:"},
		&cobra.Group{ID: "operate", Title: "Operate a running server:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", newInitCommand(), newValidateCommand(), newUpCommand(remote), newReloadCommand(remote))
	add("model", newTrainCommand(), newModelsCommand(remote), newPredictCommand(remote), newLabelCommand(remote),
		newLineageCommand(remote))
	add("operate", newStatusCommand(remote), newRetrainCommand(remote), newProposalsCommand(remote),
		newDecideCommand(remote, "approve"), newDecideCommand(remote, "reject"), newFaultCommand(remote),
		newUsageCommand(remote), newKeysCommand(remote), newAuditCommand(remote),
		newCollectCommand(remote), newImportCommand(remote), newExportCommand(remote))
	root.AddCommand(newVersionCommand(remote))
	positional(root)
	return root
}

// positional makes wrong arguments a usage error, for c and the commands below it.
func positional(c *cobra.Command) {
	if check := c.Args; c.HasSubCommands() {
		c.Args = unknownCommand
	} else if check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		positional(sub)
	}
}

// unknownCommand refuses the arguments of a command that only has others below it.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	guess := ""
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		guess = fmt.Sprintf(" (did you mean %q?)", names[0])
	}
	return &usageError{fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), args[0], guess)}
}

// version is set by the linker; a build without it takes what Go recorded.
var version string //nolint:gochecknoglobals // set by -ldflags -X

// buildVersion is the version of this binary.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// printJSON writes v as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
