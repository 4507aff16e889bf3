package experiment

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// tagRunName is the tag that says the name of a run again.
const tagRunName = "mlflow.runName"

// artifactsFolder ends the artifact location of a run and of a logged model.
const artifactsFolder = "/artifacts"

// CreateRun starts a run in an active experiment. Without a name it gets a random one.
func (t *Tracking) CreateRun(ctx context.Context, _ stoa.Caller, req *CreateRunRequest) (*RunResponse, error) {
	tags := append([]Tag(nil), req.Tags...)
	tagged := false
	name := req.RunName
	for _, tag := range tags {
		if err := checkTag("", tag); err != nil {
			return nil, err
		}
		if tag.Key != tagRunName {
			continue
		}
		if req.RunName != "" && tag.Value != "" && req.RunName != tag.Value {
			return nil, invalid("Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"+
				" (run_name='%s', mlflow.runName='%s').", req.RunName, tag.Value)
		}
		tagged = tag.Value != ""
		if name == "" {
			name = tag.Value
		}
	}
	if name == "" {
		name = randomName()
	}
	if !tagged {
		tags = append(tags, Tag{tagRunName, name})
	}
	var run Run
	err := t.write(ctx, func(tx *store.Tx) error {
		experiment, err := activeExperiment(ctx, tx, req.ExperimentID)
		if err != nil {
			return err
		}
		var location string
		if err := tx.QueryRow(ctx, `SELECT location FROM experiment_experiment WHERE id = ?`, experiment).
			Scan(&location); err != nil {
			return err
		}
		id, err := next(ctx, tx, "run", 1)
		if err != nil {
			return err
		}
		runID := randomHex()
		location = beneath(location, runID+artifactsFolder)
		if _, err := tx.Exec(ctx, `INSERT INTO experiment_run
			(id, run_id, experiment, name, user_id, status, started, location, stage) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, runID, experiment, name, req.UserID, statusRunning, int64(req.StartTime), location, stageActive); err != nil {
			return err
		}
		if err := runTags.set(ctx, tx, owner{id, experiment}, tags); err != nil {
			return err
		}
		run, err = oneRun(ctx, tx, runID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &RunResponse{Run: run}, nil
}

// randomHex is a new id: 128 random bits in hexadecimal.
func randomHex() string {
	var bits [16]byte
	// crypto/rand.Read never fails.
	_, _ = rand.Read(bits[:])
	return hex.EncodeToString(bits[:])
}

// GetRun gives a run, deleted or not.
func (t *Tracking) GetRun(ctx context.Context, _ stoa.Caller, req *RunRequest) (*RunResponse, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	var run Run
	err = t.read(ctx, func(tx *store.Tx) (err error) {
		run, err = oneRun(ctx, tx, runID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &RunResponse{Run: run}, nil
}

// The statuses of a run, in the order of their numbers on the wire, which begin with 1.
const (
	statusRunning   = "RUNNING"
	statusScheduled = "SCHEDULED"
	statusFinished  = "FINISHED"
	statusFailed    = "FAILED"
	statusKilled    = "KILLED"
)

// UpdateRun sets the status, the end and the name of an active run, as far as they are given.
func (t *Tracking) UpdateRun(ctx context.Context, _ stoa.Caller, req *UpdateRunRequest) (*UpdateRunResponse, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	status := sql.NullString{Valid: req.Status != ""}
	if status.Valid {
		var known bool
		status.String, known = req.Status.oneOf(1, statusRunning, statusScheduled, statusFinished, statusFailed, statusKilled)
		if !known {
			return nil, invalidValue("status", req.Status, "")
		}
	}
	if req.RunName != nil {
		if err := checkTag("", Tag{tagRunName, *req.RunName}); err != nil {
			return nil, err
		}
	}
	var run Run
	err = t.write(ctx, func(tx *store.Tx) error {
		at, err := activeRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE experiment_run SET status = COALESCE(?, status), ended = COALESCE(?, ended)
			WHERE id = ?`, status, (*int64)(req.EndTime), at.id); err != nil {
			return err
		}
		if req.RunName != nil && *req.RunName != "" {
			if err := setRunTags(ctx, tx, at, []Tag{{tagRunName, *req.RunName}}); err != nil {
				return err
			}
		}
		run, err = oneRun(ctx, tx, runID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &UpdateRunResponse{RunInfo: run.Info}, nil
}

// setRunTags sets tags of a run, and its name when the tag of the name is among them.
func setRunTags(ctx context.Context, tx *store.Tx, run owner, tags []Tag) error {
	for _, tag := range tags {
		if tag.Key == tagRunName && tag.Value != "" {
			if _, err := tx.Exec(ctx, `UPDATE experiment_run SET name = ? WHERE id = ?`, tag.Value, run.id); err != nil {
				return err
			}
		}
	}
	return runTags.set(ctx, tx, run, tags)
}

// DeleteRun marks a run as deleted.
func (t *Tracking) DeleteRun(ctx context.Context, _ stoa.Caller, req *RunRequest) (*Empty, error) {
	return t.moveRun(ctx, req, stageDeleted, sql.NullInt64{Int64: t.now(), Valid: true})
}

// RestoreRun makes a deleted run active again.
func (t *Tracking) RestoreRun(ctx context.Context, _ stoa.Caller, req *RunRequest) (*Empty, error) {
	return t.moveRun(ctx, req, stageActive, sql.NullInt64{})
}

func (t *Tracking) moveRun(ctx context.Context, req *RunRequest, to string, deleted sql.NullInt64) (*Empty, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		result, err := tx.Exec(ctx, `UPDATE experiment_run SET stage = ?, deleted = ? WHERE run_id = ?`, to, deleted, runID)
		if err != nil {
			return err
		}
		return affected(result, noRun(runID))
	}))
}

// SetTag sets a tag of an active run.
func (t *Tracking) SetTag(ctx context.Context, _ stoa.Caller, req *SetTagRequest) (*Empty, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	if err := required("key", req.Key); err != nil {
		return nil, err
	}
	tag := Tag{req.Key, req.Value}
	if err := checkTag("", tag); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		at, err := activeRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		return setRunTags(ctx, tx, at, []Tag{tag})
	}))
}

// DeleteTag removes a tag of an active run; not_found when it has none of that name.
func (t *Tracking) DeleteTag(ctx context.Context, _ stoa.Caller, req *DeleteTagRequest) (*Empty, error) {
	runID, err := runIDOf(req.RunID, "")
	if err != nil {
		return nil, err
	}
	if err := required("key", req.Key); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		at, err := activeRun(ctx, tx, runID)
		if err != nil {
			return err
		}
		return runTags.remove(ctx, tx, at, req.Key, notFound("No tag with name: %s in run with id %s", req.Key, runID))
	}))
}

// runIDOf gives the id of the run that a request names by its new or its old field.
func runIDOf(runID, runUUID string) (string, error) {
	if runID == "" {
		runID = runUUID
	}
	return runID, required("run_id", runID)
}

func noRun(id string) error { return notFound("Run with id=%s not found", id) }

// activeRun finds a run that takes writes.
func activeRun(ctx context.Context, tx *store.Tx, runID string) (owner, error) {
	at, stage, err := findRun(ctx, tx, runID)
	if err == nil && stage != stageActive {
		err = invalid("The run %s must be in the 'active' state. Current state is %s.", runID, stage)
	}
	return at, err
}

// findRun finds a run.
func findRun(ctx context.Context, tx *store.Tx, runID string) (at owner, stage string, err error) {
	err = tx.QueryRow(ctx, `SELECT id, experiment, stage FROM experiment_run WHERE run_id = ?`, runID).
		Scan(&at.id, &at.experiment, &stage)
	if errors.Is(err, sql.ErrNoRows) {
		err = noRun(runID)
	}
	return at, stage, err
}

// oneRun reads a run with everything it has.
func oneRun(ctx context.Context, tx *store.Tx, runID string) (Run, error) {
	at, _, err := findRun(ctx, tx, runID)
	if err != nil {
		return Run{}, err
	}
	runs, err := readRuns(ctx, tx, []int64{at.id})
	if err != nil {
		return Run{}, err
	}
	return runs[0], nil
}

// readRuns reads runs with everything they have, in the order of their numbers in ids. All of them exist.
func readRuns(ctx context.Context, tx *store.Tx, ids []int64) ([]Run, error) {
	runs := make([]Run, len(ids))
	index := make(map[int64]int, len(ids))
	for i, id := range ids {
		index[id] = i
	}
	err := inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, `SELECT id, run_id, experiment, name, user_id, status, started, ended, location, stage
			FROM experiment_run WHERE id IN (`+marks+`)`, args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var id, experiment int64
			var info RunInfo
			var ended sql.NullInt64
			if err := rows.Scan(&id, &info.RunID, &experiment, &info.RunName, &info.UserID, &info.Status,
				(*int64)(&info.StartTime), &ended, &info.ArtifactURI, &info.LifecycleStage); err != nil {
				return err
			}
			info.RunUUID = info.RunID
			info.ExperimentID = strconv.FormatInt(experiment, 10)
			if ended.Valid {
				info.EndTime = (*Int64)(&ended.Int64)
			}
			runs[index[id]].Info = info
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return runs, errors.Join(
		eachLatest(ctx, tx, ids, func(i int, m Metric) { runs[i].Data.Metrics = append(runs[i].Data.Metrics, m) }),
		runParams.each(ctx, tx, ids, func(i int, key, value string) {
			runs[i].Data.Params = append(runs[i].Data.Params, Param{key, value})
		}),
		runTags.each(ctx, tx, ids, func(i int, key, value string) {
			runs[i].Data.Tags = append(runs[i].Data.Tags, Tag{key, value})
		}),
		eachInput(ctx, tx, ids, func(i int, in DatasetInput) {
			runs[i].Inputs.DatasetInputs = append(runs[i].Inputs.DatasetInputs, in)
		}),
		eachRunModel(ctx, tx, ids, func(i int, input bool, m ModelOutput) {
			if input {
				runs[i].Inputs.ModelInputs = append(runs[i].Inputs.ModelInputs, ModelInput{m.ModelID})
				return
			}
			runs[i].Outputs.ModelOutputs = append(runs[i].Outputs.ModelOutputs, m)
		}))
}

// beneath appends a path to a location.
func beneath(location, path string) string {
	return strings.TrimRight(location, "/") + "/" + path
}
