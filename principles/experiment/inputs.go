package experiment

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// LogInputs records the data sets and the logged models that an active run used. A data set of the same name and digest
// is one in an experiment; what was said of it first stays.
func (t *Tracking) LogInputs(ctx context.Context, _ stoa.Caller, req *LogInputsRequest) (*Empty, error) {
	if err := required("run_id", req.RunID); err != nil {
		return nil, err
	}
	if err := checkRunID(req.RunID); err != nil {
		return nil, err
	}
	for _, in := range req.Datasets {
		if err := checkInput(in); err != nil {
			return nil, err
		}
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		run, err := activeRun(ctx, tx, req.RunID)
		if err != nil {
			return err
		}
		for _, in := range req.Datasets {
			if err := addInput(ctx, tx, run, in); err != nil {
				return err
			}
		}
		var args []any
		for _, m := range req.Models {
			args = append(args, run.id, 1, m.ModelID, 0)
		}
		return insertRows(ctx, tx, `INSERT INTO experiment_run_model (run, is_input, model_id, step)`, 4, args,
			`ON CONFLICT DO NOTHING`)
	}))
}

// checkInput refuses a data set or a tag of its use that is not one.
func checkInput(in DatasetInput) error {
	if in.Dataset == nil {
		return missing("dataset")
	}
	d := in.Dataset
	for _, value := range []struct{ name, text string }{
		{"name", d.Name}, {"digest", d.Digest}, {"source_type", d.SourceType}, {"source", d.Source},
	} {
		if value.text == "" {
			return invalid("Dataset %s cannot be None", value.name)
		}
	}
	for _, limit := range []struct {
		what, text string
		most       int
	}{
		{"name", d.Name, maxDatasetName}, {"digest", d.Digest, maxDatasetDigest}, {"source", d.Source, maxDatasetSource},
		{"schema", d.Schema, maxDatasetSchema}, {"profile", d.Profile, maxDatasetProfile},
	} {
		if err := tooLong(limit.what, limit.most, limit.text); err != nil {
			return err
		}
	}
	for _, tag := range in.Tags {
		if tag.Key == "" {
			return missing("key")
		}
		if err := tooLong("key", maxInputTagKey, tag.Key); err != nil {
			return err
		}
		if err := tooLong("value", maxInputTagValue, tag.Value); err != nil {
			return err
		}
	}
	return nil
}

// addInput records the use of one data set.
func addInput(ctx context.Context, tx *store.Tx, run owner, in DatasetInput) error {
	d := in.Dataset
	var id int64
	err := tx.QueryRow(ctx, `SELECT id FROM experiment_dataset WHERE experiment = ? AND name = ? AND digest = ?`,
		run.experiment, d.Name, d.Digest).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		if id, err = next(ctx, tx, "dataset", 1); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO experiment_dataset
			(id, experiment, name, digest, source_type, source, schema, profile) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			id, run.experiment, d.Name, d.Digest, d.SourceType, d.Source, d.Schema, d.Profile)
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO experiment_input (run, dataset) VALUES (?, ?) ON CONFLICT DO NOTHING`,
		run.id, id); err != nil {
		return err
	}
	for _, tag := range in.Tags {
		if _, err := tx.Exec(ctx, `INSERT INTO experiment_input_tag (run, dataset, key, value) VALUES (?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, run.id, id, tag.Key, tag.Value); err != nil {
			return err
		}
	}
	return nil
}

// LogOutputs records the logged models that an active run made.
func (t *Tracking) LogOutputs(ctx context.Context, _ stoa.Caller, req *LogOutputsRequest) (*Empty, error) {
	if err := required("run_id", req.RunID); err != nil {
		return nil, err
	}
	if len(req.Models) == 0 {
		return nil, missing("models")
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		run, err := activeRun(ctx, tx, req.RunID)
		if err != nil {
			return err
		}
		var args []any
		for _, m := range req.Models {
			args = append(args, run.id, 0, m.ModelID, int64(m.Step))
		}
		return insertRows(ctx, tx, `INSERT INTO experiment_run_model (run, is_input, model_id, step)`, 4, args,
			`ON CONFLICT DO NOTHING`)
	}))
}

// eachInput calls fn for every data set that the runs used, with the index of the run.
func eachInput(ctx context.Context, tx *store.Tx, ids []int64, fn func(i int, in DatasetInput)) error {
	index := indexOf(ids)
	return inChunks(ids, func(marks string, args []any) error {
		type use struct{ run, dataset int64 }
		tags := map[use][]Tag{}
		rows, err := tx.Query(ctx, `SELECT run, dataset, key, value FROM experiment_input_tag WHERE run IN (`+marks+
			`) ORDER BY run, dataset, key`, args...)
		if err != nil {
			return err
		}
		err = scanAll(rows, func() error {
			var of use
			var tag Tag
			if err := rows.Scan(&of.run, &of.dataset, &tag.Key, &tag.Value); err != nil {
				return err
			}
			tags[of] = append(tags[of], tag)
			return nil
		})
		if err != nil {
			return err
		}
		rows, err = tx.Query(ctx, `SELECT i.run, d.id, d.name, d.digest, d.source_type, d.source, d.schema, d.profile
			FROM experiment_input i JOIN experiment_dataset d ON d.id = i.dataset WHERE i.run IN (`+marks+
			`) ORDER BY i.run, i.dataset`, args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var of use
			var d Dataset
			if err := rows.Scan(&of.run, &of.dataset, &d.Name, &d.Digest, &d.SourceType, &d.Source, &d.Schema,
				&d.Profile); err != nil {
				return err
			}
			fn(index[of.run], DatasetInput{Tags: tags[of], Dataset: &d})
			return nil
		})
	})
}

// eachRunModel calls fn for every logged model that the runs used or made, with the index of the run.
func eachRunModel(ctx context.Context, tx *store.Tx, ids []int64, fn func(i int, input bool, m ModelOutput)) error {
	index := indexOf(ids)
	return inChunks(ids, func(marks string, args []any) error {
		rows, err := tx.Query(ctx, `SELECT run, is_input, model_id, step FROM experiment_run_model WHERE run IN (`+marks+
			`) ORDER BY run, is_input, step, model_id`, args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var run int64
			var input int
			var m ModelOutput
			if err := rows.Scan(&run, &input, &m.ModelID, (*int64)(&m.Step)); err != nil {
				return err
			}
			fn(index[run], input != 0, m)
			return nil
		})
	})
}

// indexOf gives the index of each number.
func indexOf(ids []int64) map[int64]int {
	index := make(map[int64]int, len(ids))
	for i, id := range ids {
		index[id] = i
	}
	return index
}

// tagLoggedModels is the tag that lists the models that clients of version 2 logged.
const tagLoggedModels = "mlflow.log-model.history"

// LogModel adds a model to the list that a run keeps in a tag. The same model again changes nothing.
func (t *Tracking) LogModel(ctx context.Context, _ stoa.Caller, req *LogModelRequest) (*Empty, error) {
	if err := required("run_id", req.RunID); err != nil {
		return nil, err
	}
	if err := required("model_json", req.ModelJSON); err != nil {
		return nil, err
	}
	entry, err := modelEntry(req.ModelJSON)
	if err != nil {
		return nil, err
	}
	return done(t.write(ctx, func(tx *store.Tx) error {
		run, err := activeRun(ctx, tx, req.RunID)
		if err != nil {
			return err
		}
		var text string
		err = tx.QueryRow(ctx, `SELECT value FROM experiment_tag WHERE run = ? AND key = ?`, run.id, tagLoggedModels).
			Scan(&text)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var models []json.RawMessage
		if text != "" {
			if err := json.Unmarshal([]byte(text), &models); err != nil {
				return invalid("The tag '%s' of the run is not a JSON array.", tagLoggedModels)
			}
		}
		if slices.ContainsFunc(models, func(m json.RawMessage) bool { return string(m) == string(entry) }) {
			return nil
		}
		all, err := json.Marshal(append(models, entry))
		if err != nil {
			return err
		}
		tag := Tag{tagLoggedModels, string(all)}
		if err := checkTag("", tag); err != nil {
			return err
		}
		return runTags.set(ctx, tx, run, []Tag{tag})
	}))
}

// modelEntry is what the list of logged models says of a model: its place, its time and its flavours without their
// configuration.
func modelEntry(modelJSON string) (json.RawMessage, error) {
	var model map[string]json.RawMessage
	if err := json.Unmarshal([]byte(modelJSON), &model); err != nil {
		return nil, invalid("Malformed model info. \n %s \n is not a valid JSON.", modelJSON)
	}
	var absent []string
	for _, field := range []string{"artifact_path", "flavors", "run_id", "utc_time_created"} {
		if _, ok := model[field]; !ok {
			absent = append(absent, "'"+field+"'")
		}
	}
	if len(absent) > 0 {
		return nil, invalid("Model json is missing mandatory fields: {%s}", strings.Join(absent, ", "))
	}
	var flavors map[string]json.RawMessage
	if err := json.Unmarshal(model["flavors"], &flavors); err != nil {
		return nil, invalid("Model json has flavors that are not an object.")
	}
	for name, text := range flavors {
		var settings map[string]json.RawMessage
		if json.Unmarshal(text, &settings) != nil {
			continue
		}
		delete(settings, "config")
		text, err := json.Marshal(settings)
		if err != nil {
			return nil, err
		}
		flavors[name] = text
	}
	kept := map[string]any{"flavors": flavors}
	for _, field := range []string{"run_id", "utc_time_created", "artifact_path", "model_uuid"} {
		if value, ok := model[field]; ok {
			kept[field] = value
		}
	}
	return json.Marshal(kept)
}

// SearchDatasets gives the data sets that the active runs of experiments used, with the context of their use.
func (t *Tracking) SearchDatasets(
	ctx context.Context, _ stoa.Caller, req *SearchDatasetsRequest,
) (*SearchDatasetsResponse, error) {
	const mostExperiments, mostResults = 20, 1000
	if len(req.ExperimentIDs) == 0 {
		return nil, invalid("SearchDatasets request must specify at least one experiment_id.")
	}
	if n := len(req.ExperimentIDs); n > mostExperiments {
		return nil, invalid("SearchDatasets request cannot specify more than %d experiment_ids. Received %d experiment_ids.",
			mostExperiments, n)
	}
	var args []any
	for _, text := range req.ExperimentIDs {
		id, err := parseExperimentID(text)
		if err != nil {
			return nil, err
		}
		args = append(args, id)
	}
	found := &SearchDatasetsResponse{}
	err := t.read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, fmt.Sprintf(`SELECT DISTINCT d.experiment, d.name, d.digest, COALESCE(c.value, '')
			FROM experiment_dataset d JOIN experiment_input i ON i.dataset = d.id
			JOIN experiment_run r ON r.id = i.run AND r.stage = 'active'
			LEFT JOIN experiment_input_tag c ON c.run = i.run AND c.dataset = i.dataset AND c.key = 'mlflow.data.context'
			WHERE d.experiment IN (%s) ORDER BY 1, 2, 3, 4 LIMIT %d`, marks(len(args)), mostResults), args...)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var experiment int64
			var d DatasetSummary
			if err := rows.Scan(&experiment, &d.Name, &d.Digest, &d.Context); err != nil {
				return err
			}
			d.ExperimentID = strconv.FormatInt(experiment, 10)
			found.DatasetSummaries = append(found.DatasetSummaries, d)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
