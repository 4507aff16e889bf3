package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// A Run is what the lineage of a version tells of the tracked run that made it.
type Run struct {
	ID         string             `json:"run_id"`
	Name       string             `json:"name,omitempty"`
	Experiment string             `json:"experiment,omitempty"`
	User       string             `json:"user,omitempty"`
	Status     string             `json:"status,omitempty"`
	StartedAt  time.Time          `json:"started_at,omitzero"`
	EndedAt    time.Time          `json:"ended_at,omitzero"`
	Commit     string             `json:"commit,omitempty"`      // of the code, as the client logged it
	Entry      string             `json:"entry_point,omitempty"` // script or notebook
	Datasets   []Dataset          `json:"datasets,omitempty"`    // what it was trained and tested on
	Parameters map[string]string  `json:"parameters,omitempty"`
	Metrics    map[string]float64 `json:"metrics,omitempty"` // the latest value of each
}

// A Dataset is an input of a run.
type Dataset struct {
	Name    string `json:"name"`
	Digest  string `json:"digest"`
	Context string `json:"context,omitempty"` // training, validation …
}

// A Lineage is where a version comes from and what became of it.
type Lineage struct {
	Version     stoa.Version      `json:"version"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Stage       string            `json:"stage"`
	Aliases     []string          `json:"aliases,omitempty"`
	Run         *Run              `json:"run,omitempty"`
	RunMissing  string            `json:"run_missing,omitempty"` // why the run that the version names is not told of
	Data        []Dataset         `json:"data,omitempty"`
	Commit      string            `json:"commit,omitempty"`
	Ancestors   []Ancestor        `json:"ancestors,omitempty"` // the parent, its parent, and so on
	Gates       []Gate            `json:"gates,omitempty"`
	Rollouts    []Decision        `json:"rollouts,omitempty"`
	Decisions   []Decision        `json:"decisions,omitempty"` // entries of other kinds
	Moves       []AliasMove       `json:"moves,omitempty"`     // every alias that came to it or left it, oldest first
}

// An Ancestor is a version that another was to succeed, or is a copy of.
type Ancestor struct {
	Version   int       `json:"version"`
	RunID     string    `json:"run_id,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	Deleted   bool      `json:"deleted,omitempty"`
}

// A Decision is an entry of the ledger about a version.
type Decision struct {
	Entry      int64           `json:"entry"`
	Kind       ledger.Kind     `json:"kind"`
	State      ledger.State    `json:"state"`
	Alias      string          `json:"alias,omitempty"` // that the entry moves; empty for a retraining
	Why        string          `json:"why,omitempty"`
	ProposedBy string          `json:"proposed_by"`
	DecidedBy  string          `json:"decided_by,omitempty"`
	Approvals  []Approval      `json:"approvals,omitempty"` // where several people were needed
	Result     json.RawMessage `json:"result,omitempty"`
	Error      string          `json:"error,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

// An AliasMove is a move of an alias that is done. Version 0 is none.
type AliasMove struct {
	Alias string    `json:"alias"`
	From  int       `json:"from"`
	To    int       `json:"to"`
	By    string    `json:"by"`
	Entry int64     `json:"entry,omitempty"` // of the ledger
	Why   string    `json:"why,omitempty"`
	At    time.Time `json:"at"`
}

// Lineage tells where the version that ref names (see [Registry.Version]) comes from and what became of it. The error
// is a *[stoa.Refusal]: unknown_model or unknown_version.
func (r *Registry) Lineage(ctx context.Context, name, ref string) (*Lineage, error) {
	m, err := r.current.Load().model(name)
	if err != nil {
		return nil, err
	}
	v, found := m.find(ref)
	if !found {
		return nil, m.noVersion(name, ref)
	}
	l := &Lineage{
		Version: clone(v.Version), Tags: maps.Clone(v.tags), Stage: v.stage, Aliases: m.aliasesOf(v.Number),
		Ancestors: m.ancestors(v), Gates: v.gateList(),
	}
	if v.description != nil {
		l.Description = *v.description
	}
	if err := r.traceRun(ctx, l); err != nil {
		return nil, fmt.Errorf("registry: lineage of %s version %d: %w", name, v.Number, err)
	}
	if err := r.traceDecisions(ctx, l); err != nil {
		return nil, fmt.Errorf("registry: lineage of %s version %d: %w", name, v.Number, err)
	}
	return l, nil
}

// ancestors follows the parents of a version. A parent has a lower number, so that it comes to an end.
func (m *model) ancestors(v version) []Ancestor {
	var list []Ancestor
	for parent := v.Parent; parent > 0 && parent < v.Number; {
		v = m.versions[parent-1]
		list = append(list, Ancestor{
			Version: v.Number, RunID: v.RunID, CreatedAt: v.CreatedAt, CreatedBy: v.CreatedBy, Deleted: v.deleted,
		})
		parent = v.Parent
	}
	return list
}

// traceRun adds the run, and the data and the code that it or the version names.
func (r *Registry) traceRun(ctx context.Context, l *Lineage) error {
	if l.Version.RunID != "" {
		run, err := r.run(ctx, l.Version.RunID)
		var refusal *stoa.Refusal
		switch {
		case errors.As(err, &refusal):
			l.RunMissing = refusal.Message
		case err != nil:
			return err
		default:
			l.Run, l.Data, l.Commit = &run, run.Datasets, run.Commit
		}
	}
	if l.Commit == "" {
		l.Commit = l.Version.Code
	}
	digest := l.Version.DataDigest
	for _, d := range l.Data {
		if d.Digest == digest {
			return nil
		}
	}
	if digest != "" {
		l.Data = append(l.Data, Dataset{Name: "training data", Digest: digest, Context: "training"})
	}
	return nil
}

func (r *Registry) run(ctx context.Context, id string) (Run, error) {
	if r.config.Run == nil {
		return Run{}, &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: "runs are not tracked here"}
	}
	return r.config.Run(ctx, id)
}

// traceDecisions adds what the ledger and the aliases tell of a version.
func (r *Registry) traceDecisions(ctx context.Context, l *Lineage) error {
	entries, err := r.config.Ledger.List(ctx, ledger.Filter{Subject: l.Version.Model})
	if err != nil {
		return err
	}
	return r.config.DB.Read(ctx, func(tx *store.Tx) error {
		for _, e := range entries {
			if !concerns(e, l.Version.Number) {
				continue
			}
			d := Decision{
				Entry: e.ID, Kind: e.Kind, State: e.State, Why: e.Why, ProposedBy: e.ProposedBy, DecidedBy: e.DecidedBy,
				Result: e.Result, Error: e.Error, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
			}
			if move, err := moveOf(e); err == nil {
				d.Alias = move.Alias
			}
			if d.Approvals, err = approvals(ctx, tx, e.ID); err != nil {
				return err
			}
			if e.Kind == ledger.KindRollout {
				l.Rollouts = append(l.Rollouts, d)
			} else {
				l.Decisions = append(l.Decisions, d)
			}
		}
		l.Moves, err = moves(ctx, tx, l.Version)
		return err
	})
}

// concerns reports whether an entry about a model is about one version of it: the version is in what was proposed, or,
// of a retraining, in what came of it.
func concerns(e ledger.Entry, number int) bool {
	for _, text := range []json.RawMessage{e.Payload, e.Result} {
		var named target
		if len(text) > 0 && json.Unmarshal(text, &named) == nil && named.Version == number {
			return true
		}
	}
	return false
}

// moves reads the moves of aliases to and from a version.
func moves(ctx context.Context, tx *store.Tx, v stoa.Version) ([]AliasMove, error) {
	var list []AliasMove
	const query = "SELECT alias, from_number, to_number, moved_by, entry, why, moved_at FROM registry_move " +
		"WHERE model = ? AND (from_number = ? OR to_number = ?) ORDER BY id"
	err := each(ctx, tx, query, func(rows *sql.Rows) error {
		var m AliasMove
		var at int64
		if err := rows.Scan(&m.Alias, &m.From, &m.To, &m.By, &m.Entry, &m.Why, &at); err != nil {
			return err
		}
		m.At = fromMicros(at)
		list = append(list, m)
		return nil
	}, v.Model, v.Number, v.Number)
	return list, err
}
