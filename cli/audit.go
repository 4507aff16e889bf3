package cli

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
)

func newAuditCommand(f *remoteFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "The hash-chained ledger: verify it, read it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var offline bool
	var db string
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Check that no event was edited, deleted or reordered",
		Long: `Check the hash chain of the ledger, and say which event was edited, deleted or reordered.

With --url or STOA_URL the running server checks its own ledger. With --data the data directory itself is read: through
its server when one is running on it, else directly (--offline insists on reading it directly).`,
		Example: `  stoa audit verify --data /var/lib/stoa
  stoa audit verify --url http://127.0.0.1:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := verifyLedger(cmd, f, offline, databaseURL(db))
			if err != nil {
				return err
			}
			if f.json {
				if err := printJSON(cmd.OutOrStdout(), report); err != nil {
					return err
				}
			} else {
				for _, b := range report.Broken {
					fmt.Fprintf(cmd.OutOrStdout(), "event %d: %s\n", b.Seq, b.What)
				}
			}
			if n := len(report.Broken); n > 0 {
				return &stoa.Refusal{
					Reason: stoa.ReasonInvalid, Message: fmt.Sprintf("the ledger does not verify: %d breaks in %d events", n, report.Rows),
					Hint: "keep the data directory as it is and restore a backup elsewhere to compare",
				}
			}
			if !f.json {
				fmt.Fprintf(cmd.OutOrStdout(), "the ledger verifies: %d events, head %s\n", report.Rows, report.Head)
			}
			return nil
		},
	}
	verify.Flags().BoolVar(&offline, "offline", false, "read the data directory directly (the server must be stopped)")
	addDatabaseFlag(verify, &db)
	var after int64
	var subject string
	log := &cobra.Command{
		Use:     "log",
		Short:   "Print the events of the ledger, oldest first",
		Example: `  stoa audit log --subject price --after 100`,
		Args:    cobra.NoArgs,
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, _ []string) error {
			events, err := r.events(cmd, subject, after)
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), events)
			}
			t := newTable(cmd.OutOrStdout(), "SEQ", "WHEN", "WHO", "WHAT")
			for _, e := range events {
				t.row(e.Seq, e.At.Format("2006-01-02 15:04:05"), e.Actor, e.Text)
			}
			return t.flush()
		}),
	}
	log.Flags().Int64Var(&after, "after", 0, "only events after this one")
	log.Flags().StringVar(&subject, "subject", "", "only about this model")
	c.AddCommand(verify, log)
	return c
}

// events reads all pages of the ledger's events.
func (r *remote) events(cmd *cobra.Command, subject string, after int64) ([]app.EventView, error) {
	all := []app.EventView{}
	for {
		var page struct {
			Events []app.EventView `json:"events"`
			Next   int64           `json:"next"` // 0 at the end
		}
		path := fmt.Sprintf("/v1/events?subject=%s&after=%d", subject, after)
		if err := r.send(cmd.Context(), http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Events...)
		if page.Next == 0 {
			return all, nil
		}
		after = page.Next
	}
}

func verifyLedger(cmd *cobra.Command, f *remoteFlags, offline bool, db string) (app.AuditView, error) {
	var report app.AuditView
	if !offline {
		r, err := f.connect()
		if err == nil {
			err = r.send(cmd.Context(), http.MethodGet, "/v1/audit", nil, &report)
		}
		if err == nil || f.data == "" || !isUnreachable(err) {
			return report, err
		}
	}
	return app.VerifyLedger(cmd.Context(), f.dataDir(), db)
}
