package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
)

func newStatusCommand(f *remoteFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "status [MODEL]",
		Short: "Where each model stands: champion, decay, retraining, rollout",
		Example: `  stoa status
  stoa status price --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			names := args
			if len(args) == 0 {
				var answer struct {
					Models []app.ModelView `json:"models"`
				}
				if err := r.send(cmd.Context(), http.MethodGet, "/v1/models", nil, &answer); err != nil {
					return err
				}
				for _, m := range answer.Models {
					names = append(names, m.Name)
				}
			}
			views := []app.LifecycleView{}
			for _, name := range names {
				var v app.LifecycleView
				if err := r.send(cmd.Context(), http.MethodGet, "/v1/models/"+url.PathEscape(name)+"/lifecycle", nil, &v); err != nil {
					return err
				}
				views = append(views, v)
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), views)
			}
			t := newTable(cmd.OutOrStdout(), "MODEL", "CHAMPION", "PREVIOUS", "LABELS", "DECAY", "UNDER WAY", "RETRAINED", "PROMOTED")
			for _, v := range views {
				t.row(v.Model, dash(v.Champion), dash(v.Previous), v.Judgements, decayText(v.Decay), underWay(v),
					v.Counts.Retrainings, v.Counts.Promotions)
			}
			return t.flush()
		}),
	}
}

func decayText(d *app.DecayView) string {
	switch {
	case d == nil:
		return "–"
	case d.Learning:
		return fmt.Sprintf("learning (%d labels)", d.Labels)
	}
	return fmt.Sprintf("%.3g of %.3g (%.1f %% errors expected)", d.Statistic, d.Threshold, 100*d.Reference)
}

func underWay(v app.LifecycleView) string {
	switch {
	case v.Rollout != nil:
		return fmt.Sprintf("version %d in %s, %d labels", v.Rollout.Challenger, v.Rollout.Phase, v.Rollout.Labels)
	case v.Retraining != 0:
		return fmt.Sprintf("retraining (ledger %d)", v.Retraining)
	}
	return "–"
}

func newRetrainCommand(f *remoteFlags) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:     "retrain MODEL",
		Short:   "Propose a retraining now, whatever the monitor says",
		Example: `  stoa retrain price --why "new tariff from today"`,
		Args:    cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			var p app.ProposalView
			path := "/v1/models/" + url.PathEscape(args[0]) + "/retrain"
			if err := r.send(cmd.Context(), http.MethodPost, path, app.RetrainRequest{Why: why}, &p); err != nil {
				return err
			}
			return printProposals(cmd, f, []app.ProposalView{p})
		}),
	}
	c.Flags().StringVar(&why, "why", "", "reason, for the ledger")
	return c
}

func newProposalsCommand(f *remoteFlags) *cobra.Command {
	var state, kind, subject string
	var limit int
	c := &cobra.Command{
		Use:   "proposals",
		Short: "What was proposed, approved, run and done: the decision ledger",
		Example: `  stoa proposals --state proposed
  stoa proposals --kind retrain --subject price --json`,
		Args: cobra.NoArgs,
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, _ []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, value := range map[string]string{"state": state, "kind": kind, "subject": subject} {
				if value != "" {
					q.Set(name, value)
				}
			}
			var answer struct {
				Proposals []app.ProposalView `json:"proposals"`
			}
			if err := r.send(cmd.Context(), http.MethodGet, "/v1/proposals?"+q.Encode(), nil, &answer); err != nil {
				return err
			}
			return printProposals(cmd, f, answer.Proposals)
		}),
	}
	c.Flags().StringVar(&state, "state", "", "only in this state: proposed, approved, running, done, rejected, failed")
	c.Flags().StringVar(&kind, "kind", "", "only of this kind: retrain, rollout, alias")
	c.Flags().StringVar(&subject, "subject", "", "only about this model")
	c.Flags().IntVar(&limit, "limit", 50, "at most so many, newest first")
	return c
}

func printProposals(cmd *cobra.Command, f *remoteFlags, list []app.ProposalView) error {
	if f.json {
		return printJSON(cmd.OutOrStdout(), list)
	}
	t := newTable(cmd.OutOrStdout(), "ID", "KIND", "SUBJECT", "STATE", "PROPOSED BY", "DECIDED BY", "WHEN", "WHY")
	for _, p := range list {
		why := p.Why
		if p.Error != "" {
			why += " – " + p.Error
		}
		t.row(p.ID, p.Kind, p.Subject, p.State, p.ProposedBy, p.DecidedBy, p.CreatedAt.Format("2006-01-02 15:04:05"), why)
	}
	return t.flush()
}

// newDecideCommand is approve or reject.
func newDecideCommand(f *remoteFlags, verb string) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:     verb + " ID",
		Short:   strings.ToUpper(verb[:1]) + verb[1:] + " a proposal",
		Example: fmt.Sprintf("  stoa %s 12 --why \"looked at the error analysis\"", verb),
		Args:    cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id <= 0 {
				return &usageError{fmt.Errorf("%q is not the number of a proposal", args[0])}
			}
			var p app.ProposalView
			path := fmt.Sprintf("/v1/proposals/%d/%s", id, verb)
			if err := r.send(cmd.Context(), http.MethodPost, path, app.DecisionRequest{Why: why}, &p); err != nil {
				return err
			}
			return printProposals(cmd, f, []app.ProposalView{p})
		}),
	}
	c.Flags().StringVar(&why, "why", "", "reason, for the ledger")
	return c
}

func newFaultCommand(f *remoteFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "fault",
		Short: "Make a candidate of an endpoint fail on purpose, to see the fallback work",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var req app.FaultRequest
	var reason string
	inject := &cobra.Command{
		Use:     "inject ENDPOINT CANDIDATE",
		Short:   "Make CANDIDATE fail until cleared",
		Example: `  stoa fault inject price price@champion --reason timeout --why "drill: fallback"`,
		Args:    cobra.ExactArgs(2),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			req.Candidate, req.Reason = args[1], stoa.Reason(reason)
			if err := r.send(cmd.Context(), http.MethodPut, "/v1/endpoints/"+url.PathEscape(args[0])+"/faults", req, nil); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"endpoint": args[0], "candidate": args[1], "reason": reason})
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s of %s fails with %s until: stoa fault clear %s\n", args[1], args[0], reason, args[0])
			return nil
		}),
	}
	inject.Flags().StringVar(&reason, "reason", string(stoa.ReasonTargetError), "how it fails: target_error, timeout or unreachable")
	inject.Flags().StringVar(&req.Why, "why", "", "reason, for the ledger")
	clear := &cobra.Command{
		Use:     "clear ENDPOINT",
		Short:   "End every fault injected into ENDPOINT",
		Example: `  stoa fault clear price`,
		Args:    cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			path := "/v1/endpoints/" + url.PathEscape(args[0]) + "/faults"
			return r.change(cmd, f, http.MethodDelete, path, map[string]any{"endpoint": args[0], "cleared": true})
		}),
	}
	c.AddCommand(inject, clear)
	return c
}

func newUsageCommand(f *remoteFlags) *cobra.Command {
	var since time.Duration
	c := &cobra.Command{
		Use:     "usage",
		Short:   "Requests, rows and CPU-seconds per caller, model and version",
		Example: `  stoa usage --since 24h`,
		Args:    cobra.NoArgs,
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, _ []string) error {
			var answer struct {
				Usage []app.UsageView `json:"usage"`
			}
			path := "/v1/usage?since=" + url.QueryEscape(since.String())
			if err := r.send(cmd.Context(), http.MethodGet, path, nil, &answer); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), answer.Usage)
			}
			t := newTable(cmd.OutOrStdout(), "CALLER", "MODEL", "VERSION", "REQUESTS", "REFUSED", "ROWS", "CPU SECONDS")
			for _, u := range answer.Usage {
				t.row(u.Caller, u.Model, dash(u.Version), u.Requests, u.Refused, u.Rows, fmt.Sprintf("%.3f", u.CPUSeconds))
			}
			return t.flush()
		}),
	}
	c.Flags().DurationVar(&since, "since", 30*24*time.Hour, "how far back")
	return c
}

func newKeysCommand(f *remoteFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "API keys: create, list, revoke",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	create := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a key that may call endpoints; its secret is shown once",
		Example: `  stoa keys create web-shop`,
		Args:    cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			var k app.NewKey
			if err := r.send(cmd.Context(), http.MethodPost, "/v1/keys", map[string]string{"name": args[0]}, &k); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), k)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "this is the only time the secret is shown:")
			fmt.Fprintln(cmd.OutOrStdout(), k.Secret)
			return nil
		}),
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the keys",
		Example: `  stoa keys list`,
		Args:    cobra.NoArgs,
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, _ []string) error {
			var answer struct {
				Keys []app.KeyView `json:"keys"`
			}
			if err := r.send(cmd.Context(), http.MethodGet, "/v1/keys", nil, &answer); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), answer.Keys)
			}
			t := newTable(cmd.OutOrStdout(), "ID", "NAME", "OWNER", "CREATED", "REVOKED")
			for _, k := range answer.Keys {
				t.row(k.ID, k.Name, k.Owner, k.CreatedAt.Format("2006-01-02 15:04:05"), k.Revoked)
			}
			return t.flush()
		}),
	}
	revoke := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke a key, at once",
		Example: `  stoa keys revoke key-0f8b2c41d7e9a563`,
		Args:    cobra.ExactArgs(1),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			path := "/v1/keys/" + url.PathEscape(args[0])
			return r.change(cmd, f, http.MethodDelete, path, map[string]any{"id": args[0], "revoked": true})
		}),
	}
	c.AddCommand(create, list, revoke)
	return c
}

func newPredictCommand(f *remoteFlags) *cobra.Command {
	var id, version string
	c := &cobra.Command{
		Use:   "predict ENDPOINT [REQUEST.json]",
		Short: "Send an Open Inference Protocol request and print the answer",
		Example: `  echo '{"inputs":[{"name":"input","datatype":"FP32","shape":[1,2],"data":[0.1,0.2]}]}' | stoa predict price
  stoa predict price request.json --version previous`,
		Args: cobra.RangeArgs(1, 2),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			in := cmd.InOrStdin()
			if len(args) == 2 {
				file, err := os.Open(args[1])
				if err != nil {
					return err
				}
				defer file.Close()
				in = file
			}
			var body map[string]any
			dec := json.NewDecoder(in)
			dec.UseNumber()
			if err := dec.Decode(&body); err != nil {
				return fmt.Errorf("the request is not JSON: %w", err)
			}
			if id != "" {
				body["id"] = id
			}
			path := "/v2/models/" + url.PathEscape(args[0])
			if version != "" {
				path += "/versions/" + url.PathEscape(version)
			}
			var answer json.RawMessage
			if err := r.send(cmd.Context(), http.MethodPost, path+"/infer", body, &answer); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		}),
	}
	c.Flags().StringVar(&id, "id", "", "prediction id, for the label to come")
	c.Flags().StringVar(&version, "version", "", "version number or alias (default: what the endpoint chooses)")
	return c
}

func newLabelCommand(f *remoteFlags) *cobra.Command {
	var row int
	c := &cobra.Command{
		Use:     "label MODEL ID LABEL",
		Short:   "Give the truth about an earlier prediction",
		Example: `  stoa label price order-17 UP`,
		Args:    cobra.ExactArgs(3),
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, args []string) error {
			var report app.LabelReport
			req := app.LabelRequest{Model: args[0], Labels: []stoa.Label{{ID: args[1], Row: row, Value: args[2]}}}
			if err := r.send(cmd.Context(), http.MethodPost, "/v1/labels", req, &report); err != nil {
				return err
			}
			if f.json {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return nil
		}),
	}
	c.Flags().IntVar(&row, "row", 0, "row within the prediction")
	return c
}

func newReloadCommand(f *remoteFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		Short:   "Have the server read its workload file again; a bad file changes nothing",
		Example: `  stoa reload --data my-workload/.stoa`,
		Args:    cobra.NoArgs,
		RunE: withRemote(f, func(cmd *cobra.Command, r *remote, _ []string) error {
			return r.change(cmd, f, http.MethodPost, "/v1/reload", map[string]any{"reloaded": true})
		}),
	}
}
