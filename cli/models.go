package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
)

func newModelsCommand(f *remoteFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "models",
		Short: "Registered models, their versions and aliases",
		Example: `  stoa models list
  stoa models register price model.onnx --metrics metrics.json --promote --why "first version"
  stoa models alias price champion 3 --why "go back to the version that worked"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newModelsListCommand(f), newModelsShowCommand(f), newRegisterCommand(f), newAliasCommand(f))
	return c
}

func newModelsListCommand(f *remoteFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the registered models",
		Example: `  stoa models list`,
		Args:    cobra.NoArgs,
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, _ []string) error {
			var answer struct {
				Models []app.ModelView `json:"models"`
			}
			if err := r.send(cmd.Context(), http.MethodGet, "/v1/models", nil, &answer); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), answer.Models)
			}
			t := newTable(cmd.OutOrStdout(), "MODEL", "VERSIONS", "ALIASES")
			for _, m := range answer.Models {
				t.row(m.Name, m.Versions, aliasText(m.Aliases))
			}
			return t.flush()
		}),
	}
}

func aliasText(aliases map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(aliases)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, aliases[name]))
	}
	return strings.Join(parts, " ")
}

func newModelsShowCommand(f *remoteFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "show MODEL",
		Short:   "Show a model's versions",
		Example: `  stoa models show price`,
		Args:    cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			var answer struct {
				Versions []stoa.Version `json:"versions"`
				Aliases  map[string]int `json:"aliases"`
			}
			if err := r.send(cmd.Context(), http.MethodGet, "/v1/models/"+url.PathEscape(args[0])+"/versions", nil, &answer); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			byVersion := map[int][]string{}
			for name, v := range answer.Aliases {
				byVersion[v] = append(byVersion[v], name)
			}
			t := newTable(cmd.OutOrStdout(), "VERSION", "CREATED", "BY", "PARENT", "SIZE", "DIGEST", "METRICS", "ALIASES")
			for _, v := range answer.Versions {
				slices.Sort(byVersion[v.Number])
				t.row(v.Number, v.CreatedAt.Format("2006-01-02 15:04:05"), v.CreatedBy, dash(v.Parent), v.Size,
					shortDigest(v.Digest), metricText(v.Metrics), strings.Join(byVersion[v.Number], " "))
			}
			return t.flush()
		}),
	}
}

func dash(n int) string {
	if n == 0 {
		return "–"
	}
	return strconv.Itoa(n)
}

func shortDigest(d string) string { return d[:min(len(d), len("sha256:")+12)] }

func metricText(m map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s=%.4g", name, m[name]))
	}
	return strings.Join(parts, " ")
}

func newRegisterCommand(f *remoteFlags) *cobra.Command {
	var meta app.RegisterRequest
	var metrics, why string
	var promote bool
	c := &cobra.Command{
		Use:   "register MODEL FILE",
		Short: "Register a version of a model",
		Long: `Register FILE, an ONNX model, as the next version of MODEL. The server checks it before anything is stored: an
operator that it cannot run is refused by name. Registering the same file again returns the version it already is.`,
		Example: `  stoa train data.csv --target class --out model.onnx --metrics metrics.json
  stoa models register price model.onnx --metrics metrics.json --promote --why "first version"`,
		Args: cobra.ExactArgs(2),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			if metrics != "" {
				raw, err := os.ReadFile(metrics)
				if err != nil {
					return err
				}
				if meta.Metrics, err = numbers(raw); err != nil {
					return fmt.Errorf("%s: %w", metrics, err)
				}
			}
			v, err := r.register(cmd.Context(), args[0], args[1], meta)
			if err != nil {
				return err
			}
			if promote {
				if err := r.moveAlias(cmd.Context(), v.Model, stoa.AliasChampion, v.Number, why); err != nil {
					return err
				}
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), v)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s version %d %s\n", v.Model, v.Number, v.Digest)
			if promote {
				fmt.Fprintf(cmd.OutOrStdout(), "champion is now version %d\n", v.Number)
			}
			return nil
		}),
	}
	c.Flags().StringVar(&metrics, "metrics", "", "JSON file with the version's metrics")
	c.Flags().StringVar(&meta.Code, "code", "", "what trained it: a command line, a commit, a URL")
	c.Flags().StringVar(&meta.DataDigest, "data-digest", "", "digest of the training data, sha256:…")
	c.Flags().IntVar(&meta.Parent, "parent", 0, "version that it succeeds")
	c.Flags().StringToStringVar(&meta.Parameters, "param", nil, "training parameter NAME=VALUE, repeatable")
	c.Flags().BoolVar(&promote, "promote", false, "also make it the champion (you must be an approver)")
	c.Flags().StringVar(&why, "why", "", "reason for the promotion, for the ledger")
	return c
}

// numbers keeps the numeric members of a JSON object.
func numbers(raw []byte) (map[string]float64, error) {
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for name, v := range all {
		if x, ok := v.(float64); ok {
			out[name] = x
		}
	}
	return out, nil
}

func (r *remote) register(ctx context.Context, model, file string, meta app.RegisterRequest) (stoa.Version, error) {
	var v stoa.Version
	artifact, err := os.Open(file)
	if err != nil {
		return v, err
	}
	defer artifact.Close()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	raw, err := json.Marshal(meta)
	if err != nil {
		return v, err
	}
	if err := form.WriteField("metadata", string(raw)); err != nil {
		return v, err
	}
	part, err := form.CreateFormFile("artifact", filepath.Base(file))
	if err != nil {
		return v, err
	}
	if _, err := io.Copy(part, artifact); err != nil {
		return v, err
	}
	if err := form.Close(); err != nil {
		return v, err
	}
	err = r.do(ctx, http.MethodPost, "/v1/models/"+url.PathEscape(model)+"/versions", form.FormDataContentType(), &body, &v)
	return v, err
}

func (r *remote) moveAlias(ctx context.Context, model, alias string, version int, why string) error {
	path := "/v1/models/" + url.PathEscape(model) + "/aliases/" + url.PathEscape(alias)
	return r.send(ctx, http.MethodPut, path, app.AliasRequest{Version: version, Why: why}, nil)
}

func newAliasCommand(f *remoteFlags) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:   "alias MODEL ALIAS VERSION",
		Short: "Point an alias at a version",
		Long: `Point ALIAS of MODEL at VERSION. Version 0 removes the alias. champion and previous move only by a rollout or by a
named approver; the champion before becomes previous.`,
		Example: `  stoa models alias price champion 3 --why "version 4 fails on holidays"`,
		Args:    cobra.ExactArgs(3),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			version, err := strconv.Atoi(args[2])
			if err != nil || version < 0 {
				return &usageError{fmt.Errorf("%q is not a version number", args[2])}
			}
			if err := r.moveAlias(cmd.Context(), args[0], args[1], version, why); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"model": args[0], "alias": args[1], "version": version})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s@%s is now version %d\n", args[0], args[1], version)
			return nil
		}),
	}
	c.Flags().StringVar(&why, "why", "", "reason, for the ledger")
	return c
}
