package experiment

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// A Purged counts what a purge deleted.
type Purged struct {
	Runs        int `json:"runs"`
	Models      int `json:"models"`
	Experiments int `json:"experiments"`
	Blobs       int `json:"blobs"` // artifacts that nothing names any more
	Held        int `json:"held"`  // runs and logged models left alone, because registered versions need their artifacts
}

// Purge deletes for good what was marked as deleted before olderThan: runs, logged models, and experiments that have
// none of either left, with their artifacts, as far as nothing else has the same bytes. Each is one transaction, so that
// others write in between, and what is restored meanwhile stays. A crash leaves the rest to the next purge.
func (t *Tracking) Purge(ctx context.Context, caller stoa.Caller, olderThan time.Time) (Purged, error) {
	var purged Purged
	before := olderThan.UnixMilli()
	for _, kind := range []struct {
		find  string
		drop  func(ctx context.Context, tx *store.Tx, id, before int64) ([]string, string, error)
		what  string
		count *int
		held  bool // whether a version may need it
	}{
		{`FROM experiment_run WHERE stage = 'deleted' AND deleted < ?`, dropRun, "run.purge", &purged.Runs, true},
		{`FROM experiment_model WHERE stage = 'deleted' AND updated < ?`, dropModel, "logged_model.purge", &purged.Models, true},
		{`FROM experiment_experiment WHERE stage = 'deleted' AND updated < ? AND id <> 0`, dropExperiment, "experiment.purge",
			&purged.Experiments, false},
	} {
		var ids *numbers
		err := t.read(ctx, func(tx *store.Tx) (err error) {
			ids, err = readNumbers(ctx, tx, "id", kind.find, before)
			return err
		})
		if err != nil {
			return purged, err
		}
		for _, id := range ids.list() {
			var orphans []string
			dropped := false
			err := t.write(ctx, func(tx *store.Tx) error {
				found, name, err := kind.drop(ctx, tx, id, before)
				if err != nil || name == "" {
					return err
				}
				if kind.held && t.config.Held != nil && t.config.Held(name) {
					return errHeld
				}
				orphans, dropped = found, true
				return t.note(ctx, tx, caller, kind.what, name)
			})
			if errors.Is(err, errHeld) {
				purged.Held++
				continue
			}
			if err != nil {
				return purged, err
			}
			if !dropped {
				continue
			}
			*kind.count++
			freed, err := t.collect(ctx, orphans)
			purged.Blobs += freed
			if err != nil {
				return purged, err
			}
		}
	}
	return purged, nil
}

// errHeld undoes the deletion of what a version needs.
var errHeld = errors.New("a registered version needs it")

// note writes an act into the ledger, when there is one. An act without a caller is the program's own.
func (t *Tracking) note(ctx context.Context, tx *store.Tx, caller stoa.Caller, what, subject string) error {
	if t.config.Ledger == nil {
		return nil
	}
	if caller.Name == "" {
		caller.Name = "stoa"
	}
	return t.config.Ledger.Note(ctx, tx, ledger.Act{Actor: caller.Name, What: what, Subject: subject})
}

// dropRun deletes the rows of a run that is still deleted. It returns the digests of its artifacts and its id; none when
// there is nothing to delete.
func dropRun(ctx context.Context, tx *store.Tx, id, before int64) (orphans []string, name string, err error) {
	var location string
	name, location, err = dropRow(ctx, tx, `DELETE FROM experiment_run WHERE id = ? AND stage = 'deleted' AND deleted < ?
		RETURNING run_id, location`, id, before)
	if err != nil || name == "" {
		return nil, "", err
	}
	for _, table := range []string{"metric", "latest", "param", "tag", "input", "input_tag", "run_model"} {
		if _, err := tx.Exec(ctx, "DELETE FROM experiment_"+table+" WHERE run = ?", id); err != nil {
			return nil, "", err
		}
	}
	orphans, err = dropLocation(ctx, tx, location)
	return orphans, name, err
}

// dropModel is dropRun for logged models.
func dropModel(ctx context.Context, tx *store.Tx, id, before int64) (orphans []string, name string, err error) {
	var location string
	name, location, err = dropRow(ctx, tx, `DELETE FROM experiment_model WHERE id = ? AND stage = 'deleted' AND updated < ?
		RETURNING model_id, location`, id, before)
	if err != nil || name == "" {
		return nil, "", err
	}
	for _, table := range []string{"param", "tag", "metric"} {
		if _, err := tx.Exec(ctx, "DELETE FROM experiment_model_"+table+" WHERE model = ?", id); err != nil {
			return nil, "", err
		}
	}
	orphans, err = dropLocation(ctx, tx, location)
	return orphans, name, err
}

// dropExperiment is dropRun for experiments that have neither runs nor logged models. Their traces and data sets go too.
func dropExperiment(ctx context.Context, tx *store.Tx, id, before int64) (orphans []string, name string, err error) {
	traces, err := readNumbers(ctx, tx, "id", `FROM experiment_trace WHERE experiment = ? AND EXISTS (
		SELECT 1 FROM experiment_experiment e WHERE e.id = ? AND e.stage = 'deleted' AND e.updated < ?
		AND NOT EXISTS (SELECT 1 FROM experiment_run WHERE experiment = e.id)
		AND NOT EXISTS (SELECT 1 FROM experiment_model WHERE experiment = e.id))`, id, id, before)
	if err != nil {
		return nil, "", err
	}
	err = inChunks(traces.list(), func(marks string, args []any) error { return dropTraces(ctx, tx, marks, args) })
	if err != nil {
		return nil, "", err
	}
	var location string
	name, location, err = dropRow(ctx, tx, `DELETE FROM experiment_experiment WHERE id = ? AND stage = 'deleted'
		AND updated < ? AND NOT EXISTS (SELECT 1 FROM experiment_run WHERE experiment = experiment_experiment.id)
		AND NOT EXISTS (SELECT 1 FROM experiment_model WHERE experiment = experiment_experiment.id)
		RETURNING CAST(id AS TEXT), location`, id, before)
	if err != nil || name == "" {
		return nil, "", err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM experiment_dataset WHERE experiment = ?`, id); err != nil {
		return nil, "", err
	}
	// A location that the client chose may hold the artifacts of others.
	if location == artifactRoot+strconv.FormatInt(id, 10) {
		orphans, err = dropLocation(ctx, tx, location)
	}
	return orphans, name, err
}

// dropRow runs a statement that deletes at most one row and gives its name and its location.
func dropRow(ctx context.Context, tx *store.Tx, statement string, args ...any) (name, location string, err error) {
	rows, err := tx.Query(ctx, statement, args...)
	if err != nil {
		return "", "", err
	}
	err = scanAll(rows, func() error { return rows.Scan(&name, &location) })
	return name, location, err
}

// dropLocation removes the artifacts beneath a location of our own.
func dropLocation(ctx context.Context, tx *store.Tx, location string) ([]string, error) {
	root, ours := rootOf(location)
	if !ours || root == "" {
		return nil, nil
	}
	return removeTree(ctx, tx, root)
}
