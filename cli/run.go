package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
	"github.com/stoaproject/stoa/manifest"
)

func newUpCommand(f *remoteFlags) *cobra.Command {
	var opt app.Options
	c := &cobra.Command{
		Use:   "up [DIR]",
		Short: "Run the workload in DIR (default: the current directory)",
		Long: `Run the workload that DIR/workload.yaml describes, with everything embedded: gateway, models, ledger, store.

The first start creates the data directory and an owner key in it (owner.key, readable by you alone). Clients send the
key as "Authorization: Bearer KEY". Only /healthz and /readyz answer without one. SIGHUP reads the workload file again;
SIGTERM finishes the requests in flight and stops.`,
		Example: `  stoa up
  stoa up my-workload --listen 127.0.0.1:8080 --data /var/lib/stoa
  STOA_DB=postgres://stoa@db.example/stoa stoa up my-workload --data /var/lib/stoa`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Dir = "."
			if len(args) == 1 {
				opt.Dir = args[0]
			}
			opt.Data = f.data
			opt.DB = databaseURL(opt.DB)
			opt.Version = buildVersion()
			opt.Log = cmd.ErrOrStderr()
			return up(cmd.Context(), opt, cmd.ErrOrStderr())
		},
	}
	addDatabaseFlag(c, &opt.DB)
	c.Flags().StringVar(&opt.Listen, "listen", "127.0.0.1:8080", "address to listen on; port 0 picks a free one")
	return c
}

// addDatabaseFlag adds --db, for a database on a server.
func addDatabaseFlag(c *cobra.Command, db *string) {
	c.Flags().StringVar(db, "db", "", "URL of a PostgreSQL, postgres://USER@HOST/DATABASE; its password goes into "+
		"PGPASSWORD or a passfile (default: $STOA_DB, or a database in the data directory)")
}

// databaseURL is the database that the flag, or else the environment, names.
func databaseURL(flag string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv("STOA_DB")
}

// up runs the process until a signal ends it.
func up(ctx context.Context, opt app.Options, stderr io.Writer) error {
	a, err := app.New(opt)
	if err != nil {
		return err
	}
	if err := a.Start(ctx); err != nil {
		return err
	}
	if a.FirstStart() {
		fmt.Fprintf(stderr, "created the owner key %s; use it as\n  export STOA_URL=%s STOA_KEY=$(cat %s)\n",
			a.OwnerKey(), a.URL(), a.OwnerKey())
	}
	fmt.Fprintf(stderr, "listening on %s\n", a.URL())

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-hangup:
			if err := a.Reload(ctx, "SIGHUP"); err != nil {
				fmt.Fprintf(stderr, "reload refused, nothing changed: %v\n", err)
			}
			continue
		case <-ctx.Done():
		case err = <-a.Failed():
		}
		break
	}
	// The context has ended: draining needs one of its own.
	return errors.Join(err, a.Stop(context.WithoutCancel(ctx)))
}

func newValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a workload file; every error has a line, a column and a hint",
		Example: `  stoa validate workload.yaml
  stoa validate my-workload/workload.yaml --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := manifest.Load(args[0])
			if errors.Is(err, os.ErrNotExist) {
				return &stoa.Refusal{
					Reason: stoa.ReasonNotFound, Message: "there is no " + args[0],
					Hint: "stoa init DIR writes a workload file to start from",
				}
			}
			if err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{"file": args[0], "valid": true, "name": w.Name})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: workload %s is valid: %d models, %d endpoints\n",
				args[0], w.Name, len(w.Models), len(w.Endpoints))
			return nil
		},
	}
}

func newInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init DIR",
		Short:   "Write a workload file to start from into DIR",
		Example: `  stoa init my-workload && stoa up my-workload`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			path := filepath.Join(dir, app.WorkloadFile)
			file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if errors.Is(err, os.ErrExist) {
				return &stoa.Refusal{
					Reason: stoa.ReasonConflict, Message: path + " exists already",
					Hint: "edit it, or give another directory",
				}
			}
			if err != nil {
				return err
			}
			if _, err := file.Write(manifest.Template(filepath.Base(dir))); err != nil {
				return errors.Join(err, file.Close())
			}
			if err := file.Close(); err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{"file": path})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote %s\nnext: stoa up %s\n", path, args[0])
			return nil
		},
	}
}

func newVersionCommand(f *remoteFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Example: `  stoa version --json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{
					"version": buildVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "stoa %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
