package experiment

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// CreateExperiment makes an experiment; conflict when its name is taken, by a deleted one too.
func (t *Tracking) CreateExperiment(
	ctx context.Context, _ stoa.Caller, req *CreateExperimentRequest,
) (*CreateExperimentResponse, error) {
	if err := required("name", req.Name); err != nil {
		return nil, err
	}
	if err := checkExperimentName(req.Name); err != nil {
		return nil, err
	}
	if err := checkLocation(req.ArtifactLocation); err != nil {
		return nil, err
	}
	for _, tag := range req.Tags {
		if err := checkExperimentTag(tag); err != nil {
			return nil, err
		}
	}
	var id int64
	err := t.write(ctx, func(tx *store.Tx) (err error) {
		if err := nameIsFree(ctx, tx, req.Name, -1); err != nil {
			return err
		}
		if id, err = next(ctx, tx, "experiment", 1); err != nil {
			return err
		}
		location := req.ArtifactLocation
		if location == "" {
			location = artifactRoot + strconv.FormatInt(id, 10)
		}
		now := t.now()
		if _, err = tx.Exec(ctx, `INSERT INTO experiment_experiment (id, name, location, stage, created, updated)
			VALUES (?, ?, ?, ?, ?, ?)`, id, req.Name, location, stageActive, now, now); err != nil {
			return err
		}
		return setExperimentTags(ctx, tx, id, req.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &CreateExperimentResponse{ExperimentID: strconv.FormatInt(id, 10)}, nil
}

// checkLocation refuses an artifact location that a client could not use.
func checkLocation(location string) error {
	if len(location) > maxLocation {
		return invalid("Invalid artifact path length. The length of the artifact path cannot be greater than %d.",
			maxLocation)
	}
	if strings.HasPrefix(location, "runs:") {
		return invalid("Artifact location cannot be a runs:/ URI. Given: '%s'", location)
	}
	if strings.ContainsAny(location, "?#") {
		return invalid("'artifact_location' URL can't include fragments or params.")
	}
	if leaves(location) {
		return invalid("Invalid artifact location: '%s' contains '..'.", location)
	}
	return nil
}

// nameIsFree refuses a name that an experiment other than except has.
func nameIsFree(ctx context.Context, tx *store.Tx, name string, except int64) error {
	var id int64
	err := tx.QueryRow(ctx, `SELECT id FROM experiment_experiment WHERE name = ?`, name).Scan(&id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err == nil && id != except:
		return conflict("Experiment(name=%s) already exists.", name)
	}
	return err
}

// GetExperiment gives an experiment, deleted or not.
func (t *Tracking) GetExperiment(
	ctx context.Context, _ stoa.Caller, req *GetExperimentRequest,
) (*GetExperimentResponse, error) {
	if err := required("experiment_id", req.ExperimentID); err != nil {
		return nil, err
	}
	id, err := parseExperimentID(req.ExperimentID)
	if err != nil {
		return nil, err
	}
	var found []Experiment
	err = t.read(ctx, func(tx *store.Tx) (err error) {
		found, err = experiments(ctx, tx, "WHERE id = ?", id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, noExperiment(req.ExperimentID)
	}
	return &GetExperimentResponse{Experiment: found[0]}, nil
}

// GetExperimentByName gives an experiment, deleted or not.
func (t *Tracking) GetExperimentByName(
	ctx context.Context, _ stoa.Caller, req *GetExperimentByNameRequest,
) (*GetExperimentResponse, error) {
	if err := required("experiment_name", req.ExperimentName); err != nil {
		return nil, err
	}
	var found []Experiment
	err := t.read(ctx, func(tx *store.Tx) (err error) {
		found, err = experiments(ctx, tx, "WHERE name = ?", req.ExperimentName)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, notFound("Could not find experiment with name '%s'", req.ExperimentName)
	}
	return &GetExperimentResponse{Experiment: found[0]}, nil
}

func noExperiment(id string) error { return notFound("No Experiment with id=%s exists", id) }

// DeleteExperiment marks an active experiment and its runs as deleted.
func (t *Tracking) DeleteExperiment(ctx context.Context, _ stoa.Caller, req *GetExperimentRequest) (*Empty, error) {
	return t.moveExperiment(ctx, req.ExperimentID, stageActive, stageDeleted)
}

// RestoreExperiment makes a deleted experiment and its runs active again.
func (t *Tracking) RestoreExperiment(ctx context.Context, _ stoa.Caller, req *GetExperimentRequest) (*Empty, error) {
	return t.moveExperiment(ctx, req.ExperimentID, stageDeleted, stageActive)
}

// moveExperiment takes an experiment and its runs from one stage to the other.
func (t *Tracking) moveExperiment(ctx context.Context, experimentID, from, to string) (*Empty, error) {
	if err := required("experiment_id", experimentID); err != nil {
		return nil, err
	}
	id, err := parseExperimentID(experimentID)
	if err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		now := t.now()
		result, err := tx.Exec(ctx, `UPDATE experiment_experiment SET stage = ?, updated = ? WHERE id = ? AND stage = ?`,
			to, now, id, from)
		if err != nil {
			return err
		}
		if err := affected(result, noExperiment(experimentID)); err != nil {
			return err
		}
		deleted := sql.NullInt64{Int64: now, Valid: to == stageDeleted}
		_, err = tx.Exec(ctx, `UPDATE experiment_run SET stage = ?, deleted = ? WHERE experiment = ?`, to, deleted, id)
		return err
	}))
}

// UpdateExperiment renames an active experiment.
func (t *Tracking) UpdateExperiment(
	ctx context.Context, _ stoa.Caller, req *UpdateExperimentRequest,
) (*Empty, error) {
	if err := required("experiment_id", req.ExperimentID); err != nil {
		return nil, err
	}
	if err := required("new_name", req.NewName); err != nil {
		return nil, err
	}
	if err := checkExperimentName(req.NewName); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		id, stage, err := experimentStage(ctx, tx, req.ExperimentID)
		if err != nil {
			return err
		}
		if stage != stageActive {
			return invalid("Cannot rename a non-active experiment.")
		}
		if err := nameIsFree(ctx, tx, req.NewName, id); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE experiment_experiment SET name = ?, updated = ? WHERE id = ?`,
			req.NewName, t.now(), id)
		return err
	}))
}

// SetExperimentTag sets a tag of an active experiment.
func (t *Tracking) SetExperimentTag(
	ctx context.Context, _ stoa.Caller, req *SetExperimentTagRequest,
) (*Empty, error) {
	if err := required("experiment_id", req.ExperimentID); err != nil {
		return nil, err
	}
	if err := required("key", req.Key); err != nil {
		return nil, err
	}
	tag := Tag{req.Key, req.Value}
	if err := checkExperimentTag(tag); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		id, err := activeExperiment(ctx, tx, req.ExperimentID)
		if err != nil {
			return err
		}
		return setExperimentTags(ctx, tx, id, []Tag{tag})
	}))
}

// DeleteExperimentTag removes a tag of an active experiment; not_found when it has none of that name.
func (t *Tracking) DeleteExperimentTag(
	ctx context.Context, _ stoa.Caller, req *DeleteExperimentTagRequest,
) (*Empty, error) {
	if err := required("experiment_id", req.ExperimentID); err != nil {
		return nil, err
	}
	if err := required("key", req.Key); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		id, err := activeExperiment(ctx, tx, req.ExperimentID)
		if err != nil {
			return err
		}
		return experimentTags.remove(ctx, tx, owner{id: id}, req.Key,
			notFound("No tag with name: %s in experiment with id %s", req.Key, req.ExperimentID))
	}))
}

// setExperimentTags sets tags of an experiment.
func setExperimentTags(ctx context.Context, tx *store.Tx, id int64, tags []Tag) error {
	for _, tag := range tags {
		if _, err := tx.Exec(ctx, `INSERT INTO experiment_experiment_tag (experiment, key, head, value) VALUES (?, ?, ?, ?)
			ON CONFLICT (experiment, key) DO UPDATE SET head = excluded.head, value = excluded.value`,
			id, tag.Key, head(tag.Value), tag.Value); err != nil {
			return err
		}
	}
	return nil
}

// experimentStage gives the number and the stage of an experiment; not_found when there is none. An empty id means the
// default experiment.
func experimentStage(ctx context.Context, tx *store.Tx, experimentID string) (id int64, stage string, err error) {
	if experimentID == "" {
		experimentID = "0"
	}
	if id, err = parseExperimentID(experimentID); err != nil {
		return 0, "", err
	}
	err = tx.QueryRow(ctx, `SELECT stage FROM experiment_experiment WHERE id = ?`, id).Scan(&stage)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, "", noExperiment(experimentID)
	}
	return id, stage, err
}

// activeExperiment gives the number of an experiment that takes writes.
func activeExperiment(ctx context.Context, tx *store.Tx, experimentID string) (int64, error) {
	id, stage, err := experimentStage(ctx, tx, experimentID)
	if err == nil && stage != stageActive {
		err = invalid("The experiment %d must be in the 'active' state. Current state is %s.", id, stage)
	}
	return id, err
}

// experiments reads the experiments that the rest of a statement chooses, with their tags.
func experiments(ctx context.Context, tx *store.Tx, rest string, args ...any) ([]Experiment, error) {
	rows, err := tx.Query(ctx, `SELECT id, name, location, stage, created, updated FROM experiment_experiment `+rest, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []Experiment
	var ids []int64
	for rows.Next() {
		var id int64
		var e Experiment
		if err := rows.Scan(&id, &e.Name, &e.ArtifactLocation, &e.LifecycleStage,
			(*int64)(&e.CreationTime), (*int64)(&e.LastUpdateTime)); err != nil {
			return nil, err
		}
		e.ExperimentID = strconv.FormatInt(id, 10)
		found, ids = append(found, e), append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return found, experimentTags.each(ctx, tx, ids, func(i int, key, value string) {
		found[i].Tags = append(found[i].Tags, Tag{key, value})
	})
}

// done is the answer of a call that has nothing to say.
func done(err error) (*Empty, error) {
	if err != nil {
		return nil, err
	}
	return &Empty{}, nil
}
