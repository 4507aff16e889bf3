package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa/app"
)

func newCollectCommand(f *remoteFlags) *cobra.Command {
	var olderThan time.Duration
	c := &cobra.Command{
		Use:   "gc",
		Short: "Delete for good what was deleted some time ago, with its files",
		Long: `Delete for good the runs, logged models and experiments that were deleted at least --older-than ago, with their
artifacts, and the files that nothing names. A file that something else has too stays. The server goes on serving
meanwhile.

A run or a logged model that a registered version was made from is held: it goes after the version has been deleted.`,
		Example: `  stoa gc
  stoa gc --older-than 0s`,
		Args: cobra.NoArgs,
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, _ []string) error {
			var done app.CollectionView
			request := map[string]string{"older_than": olderThan.String()}
			if err := r.send(cmd.Context(), http.MethodPost, "/v1/gc", request, &done); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), done)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "deleted %d runs, %d logged models, %d experiments, %d files\n",
				done.Runs, done.Models, done.Experiments, done.Blobs+done.Stray+done.Artifacts)
			if done.Held > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "held %d, which registered versions need\n", done.Held)
			}
			return nil
		}),
	}
	c.Flags().DurationVar(&olderThan, "older-than", 30*24*time.Hour, "age from which on what was deleted goes")
	return c
}
