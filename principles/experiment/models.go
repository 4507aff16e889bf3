package experiment

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// The statuses of a logged model, in the order of their numbers on the wire, which begin with 1.
const (
	modelPending = "LOGGED_MODEL_PENDING"
	modelReady   = "LOGGED_MODEL_READY"
	modelFailed  = "LOGGED_MODEL_UPLOAD_FAILED"
)

// badInModelName are the characters that the name of a logged model cannot have.
const badInModelName = `/:.%"'`

// CreateLoggedModel makes a logged model in an active experiment. Without a name it gets a random one.
func (t *Tracking) CreateLoggedModel(
	ctx context.Context, _ stoa.Caller, req *CreateLoggedModelRequest,
) (*LoggedModelResponse, error) {
	if err := required("experiment_id", req.ExperimentID); err != nil {
		return nil, err
	}
	if strings.ContainsAny(req.Name, badInModelName) {
		return nil, invalid("Invalid model name ('%s') provided. Model name must be a non-empty string and cannot contain"+
			` the following characters: ('/', ':', '.', '%%', '"', "'")`, req.Name)
	}
	if err := checkModelPairs(req.Params, req.Tags); err != nil {
		return nil, err
	}
	name := req.Name
	if name == "" {
		name = randomName()
	}
	return t.oneModel(ctx, t.config.DB.Write, "m-"+randomHex(), func(tx *store.Tx, modelID string) error {
		experiment, err := activeExperiment(ctx, tx, req.ExperimentID)
		if err != nil {
			return err
		}
		var location string
		if err := tx.QueryRow(ctx, `SELECT location FROM experiment_experiment WHERE id = ?`, experiment).
			Scan(&location); err != nil {
			return err
		}
		id, err := next(ctx, tx, "model", 1)
		if err != nil {
			return err
		}
		now := t.now()
		if _, err := tx.Exec(ctx, `INSERT INTO experiment_model
			(id, model_id, experiment, name, created, updated, location, status, model_type, source_run, stage)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, id, modelID, experiment, name, now, now,
			beneath(location, "models/"+modelID+artifactsFolder), modelPending, req.ModelType, req.SourceRunID,
			stageActive); err != nil {
			return err
		}
		of := owner{id, experiment}
		if err := modelParams.add(ctx, tx, of, pairsOf(req.Params)); err != nil {
			return err
		}
		return modelTags.set(ctx, tx, of, req.Tags)
	})
}

// checkModelPairs refuses params and tags of a logged model that are not.
func checkModelPairs(params []Param, tags []Tag) error {
	for i, p := range params {
		if err := checkParam(fmt.Sprintf("params[%d]", i), p); err != nil {
			return err
		}
	}
	for i, tag := range tags {
		if err := checkTag(fmt.Sprintf("tags[%d]", i), tag); err != nil {
			return err
		}
	}
	return nil
}

// pairsOf gives params as tags, which have the same form.
func pairsOf(params []Param) []Tag {
	pairs := make([]Tag, len(params))
	for i, p := range params {
		pairs[i] = Tag(p)
	}
	return pairs
}

// oneModel runs fn in a transaction that begin begins, and then reads the logged model.
func (t *Tracking) oneModel(
	ctx context.Context, begin func(context.Context, func(*store.Tx) error) error, modelID string,
	fn func(tx *store.Tx, modelID string) error,
) (*LoggedModelResponse, error) {
	var model LoggedModel
	err := begin(ctx, func(tx *store.Tx) error {
		if err := fn(tx, modelID); err != nil {
			return err
		}
		of, _, err := findModel(ctx, tx, modelID)
		if err != nil {
			return err
		}
		models, err := readModels(ctx, tx, []int64{of.id})
		if err != nil {
			return err
		}
		model = models[0]
		return nil
	})
	if err != nil {
		return nil, outward(err)
	}
	return &LoggedModelResponse{Model: model}, nil
}

// GetLoggedModel gives a logged model; a deleted one only when the request allows it.
func (t *Tracking) GetLoggedModel(
	ctx context.Context, _ stoa.Caller, req *GetLoggedModelRequest,
) (*LoggedModelResponse, error) {
	return t.oneModel(ctx, t.config.DB.Read, req.ModelID, func(tx *store.Tx, modelID string) error {
		_, stage, err := findModel(ctx, tx, modelID)
		if err == nil && stage == stageDeleted && !req.AllowDeleted {
			err = noModel(modelID)
		}
		return err
	})
}

// FinalizeLoggedModel records how the upload of a logged model ended.
func (t *Tracking) FinalizeLoggedModel(
	ctx context.Context, _ stoa.Caller, req *FinalizeLoggedModelRequest,
) (*LoggedModelResponse, error) {
	if err := required("status", string(req.Status)); err != nil {
		return nil, err
	}
	status, known := req.Status.oneOf(1, modelPending, modelReady, modelFailed)
	if !known {
		return nil, invalidValue("status", req.Status, "")
	}
	return t.oneModel(ctx, t.config.DB.Write, req.ModelID, func(tx *store.Tx, modelID string) error {
		result, err := tx.Exec(ctx, `UPDATE experiment_model SET status = ?, updated = ? WHERE model_id = ?`,
			status, t.now(), modelID)
		if err != nil {
			return err
		}
		return affected(result, noModel(modelID))
	})
}

// DeleteLoggedModel marks a logged model as deleted.
func (t *Tracking) DeleteLoggedModel(
	ctx context.Context, _ stoa.Caller, req *DeleteLoggedModelRequest,
) (*Empty, error) {
	return done(t.write(ctx, func(tx *store.Tx) error {
		result, err := tx.Exec(ctx, `UPDATE experiment_model SET stage = ?, updated = ? WHERE model_id = ?`,
			stageDeleted, t.now(), req.ModelID)
		if err != nil {
			return err
		}
		return affected(result, noModel(req.ModelID))
	}))
}

// SetLoggedModelTags sets tags of a logged model; the last of equal keys counts.
func (t *Tracking) SetLoggedModelTags(
	ctx context.Context, _ stoa.Caller, req *SetLoggedModelTagsRequest,
) (*LoggedModelResponse, error) {
	if err := checkModelPairs(nil, req.Tags); err != nil {
		return nil, err
	}
	return t.oneModel(ctx, t.config.DB.Write, req.ModelID, func(tx *store.Tx, modelID string) error {
		of, _, err := findModel(ctx, tx, modelID)
		if err != nil {
			return err
		}
		return modelTags.set(ctx, tx, of, req.Tags)
	})
}

// DeleteLoggedModelTag removes a tag of a logged model; not_found when it has none of that name.
func (t *Tracking) DeleteLoggedModelTag(
	ctx context.Context, _ stoa.Caller, req *DeleteLoggedModelTagRequest,
) (*Empty, error) {
	return done(t.write(ctx, func(tx *store.Tx) error {
		of, _, err := findModel(ctx, tx, req.ModelID)
		if err != nil {
			return err
		}
		return modelTags.remove(ctx, tx, of, req.TagKey,
			notFound("No tag with key '%s' found for model with ID '%s'.", req.TagKey, req.ModelID))
	}))
}

// LogLoggedModelParams adds params to a logged model. The same value again changes nothing; another one is refused.
func (t *Tracking) LogLoggedModelParams(
	ctx context.Context, _ stoa.Caller, req *LogLoggedModelParamsRequest,
) (*Empty, error) {
	if err := checkModelPairs(req.Params, nil); err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		of, _, err := findModel(ctx, tx, req.ModelID)
		if err != nil {
			return err
		}
		had := map[string]string{}
		err = modelParams.each(ctx, tx, []int64{of.id}, func(_ int, key, value string) { had[key] = value })
		if err != nil {
			return err
		}
		for _, p := range req.Params {
			if old, ok := had[p.Key]; ok && old != p.Value {
				return invalid("Changing param values is not allowed. Param with key='%s' was already logged with value='%s'"+
					" for model ID='%s'. Attempted logging new value '%s'.", p.Key, old, req.ModelID, p.Value)
			}
		}
		return modelParams.add(ctx, tx, of, pairsOf(req.Params))
	}))
}

func noModel(id string) error { return notFound("Logged model with ID '%s' not found.", id) }

// findModel finds a logged model.
func findModel(ctx context.Context, tx *store.Tx, modelID string) (of owner, stage string, err error) {
	err = tx.QueryRow(ctx, `SELECT id, experiment, stage FROM experiment_model WHERE model_id = ?`, modelID).
		Scan(&of.id, &of.experiment, &stage)
	if errors.Is(err, sql.ErrNoRows) {
		err = noModel(modelID)
	}
	return of, stage, err
}

// addModelMetrics logs the values that name a logged model with the model as well.
func addModelMetrics(ctx context.Context, tx *store.Tx, runID string, metrics []Metric) error {
	var args []any
	known := map[string]owner{}
	for i := range metrics {
		m := &metrics[i]
		if m.ModelID == "" {
			continue
		}
		of, found := known[m.ModelID]
		if !found {
			var err error
			if of, _, err = findModel(ctx, tx, m.ModelID); err != nil {
				return err
			}
			known[m.ModelID] = of
		}
		p := stored(m)
		args = append(args, of.id, of.experiment, p.key, p.at, p.step, runID, p.value, p.isNaN, m.DatasetName,
			m.DatasetDigest)
	}
	return insertRows(ctx, tx, `INSERT INTO experiment_model_metric
		(model, experiment, key, at, step, run_id, value, is_nan, dataset_name, dataset_digest)`, 10, args,
		`ON CONFLICT DO NOTHING`)
}

// readModels reads logged models with everything they have, in the order of their numbers in ids. All of them exist.
func readModels(ctx context.Context, tx *store.Tx, ids []int64) ([]LoggedModel, error) {
	models := make([]LoggedModel, len(ids))
	index := indexOf(ids)
	err := inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, `SELECT id, model_id, experiment, name, created, updated, location, status, model_type,
			source_run FROM experiment_model WHERE id IN (`+marks+`)`, args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var id, experiment int64
			var m LoggedModelInfo
			if err := rows.Scan(&id, &m.ModelID, &experiment, &m.Name, (*int64)(&m.CreationTimestamp),
				(*int64)(&m.LastUpdatedTimestamp), &m.ArtifactURI, &m.Status, &m.ModelType, &m.SourceRunID); err != nil {
				return err
			}
			m.ExperimentID = strconv.FormatInt(experiment, 10)
			models[index[id]].Info = m
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return models, errors.Join(
		modelTags.each(ctx, tx, ids, func(i int, key, value string) {
			models[i].Info.Tags = append(models[i].Info.Tags, Tag{key, value})
		}),
		modelParams.each(ctx, tx, ids, func(i int, key, value string) {
			models[i].Data.Params = append(models[i].Data.Params, Param{key, value})
		}),
		eachModelMetric(ctx, tx, ids, func(i int, m Metric) {
			m.ModelID = models[i].Info.ModelID
			models[i].Data.Metrics = append(models[i].Data.Metrics, m)
		}))
}

// eachModelMetric calls fn for every value of a metric of the models, with the index of the model.
func eachModelMetric(ctx context.Context, tx *store.Tx, ids []int64, fn func(i int, m Metric)) error {
	index := indexOf(ids)
	return inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, `SELECT model, key, at, step, value, is_nan, run_id, dataset_name, dataset_digest
			FROM experiment_model_metric WHERE model IN (`+marks+`) ORDER BY model, key, at, step, run_id`, args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var model int64
			var p point
			var run, name, digest string
			if err := rows.Scan(&model, &p.key, &p.at, &p.step, &p.value, &p.isNaN, &run, &name, &digest); err != nil {
				return err
			}
			m := p.wire()
			m.RunID, m.DatasetName, m.DatasetDigest = run, name, digest
			fn(index[model], m)
			return nil
		})
	})
}
