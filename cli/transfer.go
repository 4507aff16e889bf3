package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/cli/transfer"
)

// transferAuth says how the other server is signed in to. The variables are those of MLflow's own client.
const transferAuth = `The other server is signed in to as MLflow's client does it: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD.`

func newImportCommand(f *remoteFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "import",
		Short: "Move in from another product",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var artifacts string
	mlflow := &cobra.Command{
		Use:   "mlflow SOURCE",
		Short: "Copy experiments, runs, logged models, artifacts and registered models out of MLflow",
		Long: `Copy what MLflow keeps into the running server. SOURCE is the address of a running MLflow server, or the SQLite
database file of one (sqlite:///PATH or PATH); its artifacts are then read from the directory given with --artifacts,
and from nowhere else. For a database in PostgreSQL or MySQL, start "mlflow server" on it and give its address.

Every copy has a new id, and the old one as a tag (transfer.run, transfer.model, transfer.version). An import that broke
off is run again with the same command: it completes what is missing and copies nothing twice. A run that was copied
while it was running keeps the state that it had.

Not carried over: what is deleted, traces, prompts, aliases that this server protects, and versions whose files are
in no run and no logged model. The report at the end names them.

` + transferAuth,
		Example: `  stoa import mlflow http://127.0.0.1:5000
  stoa import mlflow sqlite:///home/ann/mlflow.db --artifacts /home/ann/mlartifacts`,
		Args: cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			from, done, err := openSource(args[0], artifacts)
			if err != nil {
				return err
			}
			defer done()
			return runTransfer(cmd, f, from, ownServer(r))
		}),
	}
	mlflow.Flags().StringVar(&artifacts, "artifacts", "", "directory with the artifacts, for a database file")
	c.AddCommand(mlflow)
	return c
}

func newExportCommand(f *remoteFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "export",
		Short: "Move out to another product",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(&cobra.Command{
		Use:   "mlflow URL",
		Short: "Copy experiments, runs, logged models, artifacts and registered models to a running MLflow server",
		Long: `Copy what the running server tracks and has registered to the MLflow server at URL, which must pass artifacts on
("mlflow server" does so by default). An export that broke off is run again with the same command.

` + transferAuth,
		Example: `  stoa export mlflow http://127.0.0.1:5000`,
		Args:    cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			to, err := otherServer(args[0])
			if err != nil {
				return err
			}
			return runTransfer(cmd, f, ownServer(r), to)
		}),
	})
	return c
}

// openSource opens what is imported from; done releases it.
func openSource(source, artifacts string) (from transfer.Source, done func(), err error) {
	scheme, rest, hasScheme := strings.Cut(source, "://")
	switch {
	case hasScheme && (scheme == "http" || scheme == "https"):
		if artifacts != "" {
			return nil, nil, &usageError{fmt.Errorf("--artifacts is for a database file; a server sends its artifacts itself")}
		}
		server, err := otherServer(source)
		return server, func() {}, err
	case hasScheme && scheme == "sqlite":
		source = strings.TrimPrefix(rest, "/") // sqlite:///relative and sqlite:////absolute, as SQLAlchemy has it
	case hasScheme:
		return nil, nil, &stoa.Refusal{
			Reason: stoa.ReasonUnsupported, Message: scheme + " cannot be read directly",
			Hint: `start "mlflow server --backend-store-uri ..." on it and give the address of that`,
		}
	}
	file, err := transfer.OpenFile(source, artifacts)
	if err != nil {
		return nil, nil, err
	}
	return file, func() { _ = file.Close() }, nil // it was only read
}

func ownServer(r *remote) *transfer.Server {
	return &transfer.Server{Base: r.base, Authorization: "Bearer " + r.key, HTTP: &http.Client{}}
}

// otherServer is the MLflow server at an address, signed in to as the environment says.
func otherServer(address string) (*transfer.Server, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, &usageError{fmt.Errorf("%q is not the address of a server, like http://127.0.0.1:5000", address)}
	}
	s := &transfer.Server{Base: strings.TrimRight(address, "/"), HTTP: &http.Client{}}
	user, password := os.Getenv("MLFLOW_TRACKING_USERNAME"), os.Getenv("MLFLOW_TRACKING_PASSWORD")
	switch token := os.Getenv("MLFLOW_TRACKING_TOKEN"); {
	case user != "":
		s.Authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	case token != "":
		s.Authorization = "Bearer " + token
	}
	return s, nil
}

// runTransfer copies, tells of the progress on standard error, and prints the report, also of what broke off.
func runTransfer(cmd *cobra.Command, f *remoteFlags, from transfer.Source, to *transfer.Server) error {
	report, err := transfer.Copy(cmd.Context(), from, to, func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
	if err != nil {
		err = transferRefusal(cmd.Context(), err)
	}
	if f.json {
		if failed := printJSON(cmd.OutOrStdout(), report); err == nil {
			err = failed
		}
		return err
	}
	printTransfer(cmd.OutOrStdout(), report)
	return err
}

func transferRefusal(ctx context.Context, err error) error {
	message := "the transfer broke off"
	if ctx.Err() != nil {
		message = "the transfer was interrupted"
	}
	return &stoa.Refusal{
		Reason: stoa.ReasonUnreachable, Message: message, Err: err,
		Hint: "run the same command again: it goes on where this one ended",
	}
}

func printTransfer(w io.Writer, r transfer.Report) {
	fmt.Fprintf(w, "copied %d experiments, %d runs (%d were there), %d metric values, %d logged models,\n"+
		"  %d files (%.1f MB), %d registered models, %d versions, %d aliases\n",
		r.Experiments, r.Runs, r.RunsBefore, r.Metrics, r.LoggedModels, r.Files, float64(r.Bytes)/1e6,
		r.Models, r.Versions, r.Aliases)
	if len(r.NotCarried) == 0 {
		fmt.Fprintln(w, "everything was carried over")
		return
	}
	fmt.Fprintln(w, "not carried over:")
	for _, line := range r.NotCarried {
		fmt.Fprintf(w, "  %s\n", line)
	}
}
