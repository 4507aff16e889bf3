package transfer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // reads the database file of another server
)

// A Database is the SQLite database file of an MLflow server, read only, with the directory of its artifacts. It
// implements [Source]. No location that the database names is opened: artifacts are read beneath the directory alone.
type Database struct {
	db   *sql.DB
	root *os.Root // nil when no directory was given
	dir  string   // absolute path of root
	has  map[string]bool
}

// OpenFile opens a database file. The directory of artifacts may be empty; then no artifacts are carried over.
func OpenFile(file, artifacts string) (*Database, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("no database file: %w", err)
	}
	dsn := url.URL{Scheme: "file", Opaque: url.PathEscape(file), RawQuery: "mode=ro&_pragma=busy_timeout(10000)"}
	db, err := sql.Open("sqlite", strings.ReplaceAll(dsn.String(), "%2F", "/"))
	if err != nil {
		return nil, err
	}
	d := &Database{db: db, has: map[string]bool{}}
	if err := d.open(artifacts); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, err), d.Close())
	}
	return d, nil
}

func (d *Database) open(artifacts string) error {
	ctx := context.Background()
	err := d.rows(ctx, `SELECT name FROM sqlite_master WHERE type = 'table'`, nil, func(scan scanner) error {
		var name string
		err := scan(&name)
		d.has[name] = true
		return err
	})
	if err != nil {
		return err
	}
	for _, table := range []string{"experiments", "runs", "metrics", "latest_metrics", "params", "tags"} {
		if !d.has[table] {
			return fmt.Errorf("it is no database of MLflow 1.0 or newer: it has no table %s", table)
		}
	}
	if artifacts == "" {
		return nil
	}
	if d.dir, err = filepath.Abs(artifacts); err != nil {
		return err
	}
	d.root, err = os.OpenRoot(d.dir)
	return err
}

// Close releases the file.
func (d *Database) Close() error {
	if d.root != nil {
		return errors.Join(d.db.Close(), d.root.Close())
	}
	return d.db.Close()
}

type scanner = func(into ...any) error

// rows calls fn for each row of a query.
func (d *Database) rows(ctx context.Context, query string, args []any, fn func(scanner) error) error {
	rows, err := d.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// pairs reads keys and values.
func (d *Database) pairs(ctx context.Context, query string, args ...any) (tags []Tag, err error) {
	err = d.rows(ctx, query, args, func(scan scanner) error {
		var t Tag
		err := scan(&t.Key, &t.Value)
		tags = append(tags, t)
		return err
	})
	return tags, err
}

// Experiments implements [Source].
func (d *Database) Experiments(ctx context.Context, yield func(Experiment) error) error {
	var all []Experiment
	err := d.rows(ctx, `SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active' ORDER BY experiment_id`,
		nil, func(scan scanner) error {
			var e Experiment
			err := scan(&e.ID, &e.Name)
			all = append(all, e)
			return err
		})
	if err != nil {
		return err
	}
	for _, e := range all {
		if d.has["experiment_tags"] {
			e.Tags, err = d.pairs(ctx, `SELECT key, COALESCE(value, '') FROM experiment_tags WHERE experiment_id = ?`, e.ID)
			if err != nil {
				return err
			}
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

// Runs implements [Source].
func (d *Database) Runs(ctx context.Context, experiment string, yield func(*Run) error) error {
	var all []*Run
	err := d.rows(ctx, `SELECT run_uuid, COALESCE(name, ''), COALESCE(user_id, ''), COALESCE(status, 'FINISHED'),
		COALESCE(start_time, 0), COALESCE(end_time, 0), COALESCE(artifact_uri, '')
		FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active' ORDER BY start_time, run_uuid`, []any{experiment},
		func(scan scanner) error {
			r := &Run{}
			all = append(all, r)
			return scan(&r.Info.ID, &r.Info.Name, &r.Info.User, &r.Info.Status, &r.Info.StartTime, &r.Info.EndTime,
				&r.Info.ArtifactURI)
		})
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := d.fill(ctx, r); err != nil {
			return err
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// fill reads what belongs to a run.
func (d *Database) fill(ctx context.Context, r *Run) (err error) {
	if r.Data.Tags, err = d.pairs(ctx, `SELECT key, COALESCE(value, '') FROM tags WHERE run_uuid = ?`, r.Info.ID); err != nil {
		return err
	}
	if r.Data.Params, err = d.pairs(ctx, `SELECT key, value FROM params WHERE run_uuid = ?`, r.Info.ID); err != nil {
		return err
	}
	err = d.rows(ctx, `SELECT key FROM latest_metrics WHERE run_uuid = ? ORDER BY key`, []any{r.Info.ID}, func(scan scanner) error {
		var m Metric
		err := scan(&m.Key)
		r.Data.Metrics = append(r.Data.Metrics, m)
		return err
	})
	if err != nil || !d.has["inputs"] {
		return err
	}
	if err := d.datasets(ctx, r); err != nil || !d.has["logged_models"] {
		return err
	}
	return d.rows(ctx, `SELECT source_type, destination_id, COALESCE(step, 0) FROM inputs WHERE source_id = ?
		AND source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND destination_type IN ('MODEL_INPUT', 'MODEL_OUTPUT')`,
		[]any{r.Info.ID}, func(scan scanner) error {
			var kind string
			var link ModelLink
			if err := scan(&kind, &link.ID, &link.Step); err != nil {
				return err
			}
			if kind == "RUN_INPUT" {
				r.Inputs.Models = append(r.Inputs.Models, link)
			} else {
				r.Outputs.Models = append(r.Outputs.Models, link)
			}
			return nil
		})
}

func (d *Database) datasets(ctx context.Context, r *Run) error {
	var inputs []string
	err := d.rows(ctx, `SELECT i.input_uuid, s.name, s.digest, s.dataset_source_type, s.dataset_source,
		COALESCE(s.dataset_schema, ''), COALESCE(s.dataset_profile, '') FROM inputs i
		JOIN datasets s ON s.dataset_uuid = i.source_id
		WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id = ?`, []any{r.Info.ID},
		func(scan scanner) error {
			var input string
			var s Dataset
			err := scan(&input, &s.Name, &s.Digest, &s.SourceType, &s.Source, &s.Schema, &s.Profile)
			inputs = append(inputs, input)
			r.Inputs.Datasets = append(r.Inputs.Datasets, DatasetInput{Dataset: s})
			return err
		})
	if err != nil {
		return err
	}
	for i, input := range inputs {
		r.Inputs.Datasets[i].Tags, err = d.pairs(ctx, `SELECT name, value FROM input_tags WHERE input_uuid = ?`, input)
		if err != nil {
			return err
		}
	}
	return nil
}

// History implements [Source].
func (d *Database) History(ctx context.Context, run, key string, yield func([]Metric) error) error {
	var part []Metric
	err := d.rows(ctx, `SELECT value, is_nan, timestamp, step FROM metrics WHERE run_uuid = ? AND key = ?
		ORDER BY timestamp, step, value`, []any{run, key}, func(scan scanner) error {
		m := Metric{Key: key}
		var value float64
		var isNaN bool
		if err := scan(&value, &isNaN, &m.Timestamp, &m.Step); err != nil {
			return err
		}
		m.Value = number(value, isNaN)
		if part = append(part, m); len(part) < 1000 {
			return nil
		}
		err := yield(part)
		part = nil
		return err
	})
	if err == nil && len(part) > 0 {
		err = yield(part)
	}
	return err
}

// number is a value as the wire has it.
func number(value float64, isNaN bool) json.RawMessage {
	if isNaN {
		return json.RawMessage(`"NaN"`)
	}
	return strconv.AppendFloat(nil, value, 'g', -1, 64)
}

// LoggedModels implements [Source].
func (d *Database) LoggedModels(ctx context.Context, experiment string, yield func(*LoggedModel) error) error {
	if !d.has["logged_models"] {
		return nil
	}
	var all []*LoggedModel
	err := d.rows(ctx, `SELECT model_id, name, artifact_location, status, COALESCE(model_type, ''),
		COALESCE(source_run_id, '') FROM logged_models WHERE experiment_id = ? AND lifecycle_stage = 'active'
		ORDER BY creation_timestamp_ms, model_id`, []any{experiment}, func(scan scanner) error {
		l := &LoggedModel{}
		all = append(all, l)
		var status int
		if err := scan(&l.Info.ID, &l.Info.Name, &l.Info.ArtifactURI, &status, &l.Info.ModelType, &l.Info.SourceRun); err != nil {
			return err
		}
		l.Info.Status = modelPending
		switch status {
		case 2:
			l.Info.Status = "LOGGED_MODEL_READY"
		case 3:
			l.Info.Status = "LOGGED_MODEL_UPLOAD_FAILED"
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.Info.Tags, err = d.pairs(ctx, `SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ?`, l.Info.ID); err != nil {
			return err
		}
		if l.Data.Params, err = d.pairs(ctx, `SELECT param_key, param_value FROM logged_model_params WHERE model_id = ?`,
			l.Info.ID); err != nil {
			return err
		}
		err = d.rows(ctx, `SELECT metric_name, metric_timestamp_ms, metric_step, COALESCE(metric_value, 0), run_id,
			COALESCE(dataset_name, ''), COALESCE(dataset_digest, '') FROM logged_model_metrics WHERE model_id = ?`,
			[]any{l.Info.ID}, func(scan scanner) error {
				var m Metric
				var value float64
				if err := scan(&m.Key, &m.Timestamp, &m.Step, &value, &m.RunID, &m.DatasetName, &m.DatasetDigest); err != nil {
					return err
				}
				m.Value = number(value, false)
				l.Data.Metrics = append(l.Data.Metrics, m)
				return nil
			})
		if err != nil {
			return err
		}
		if err := yield(l); err != nil {
			return err
		}
	}
	return nil
}

// Files implements [Source].
func (d *Database) Files(_ context.Context, of Owner, yield func(File) error) error {
	if d.root == nil {
		return &lostError{"no directory with artifacts was given (--artifacts)"}
	}
	at, ok := d.place(of.Location)
	if !ok {
		return &lostError{fmt.Sprintf("%s is not beneath %s", of.Location, d.dir)}
	}
	err := fs.WalkDir(d.root.FS(), at, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == at:
			return fs.SkipAll // a run without artifacts has no directory
		case err != nil:
			return err
		case !entry.Type().IsRegular():
			return nil // a directory is walked; a link is not followed
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return yield(File{
			Path: strings.TrimPrefix(name, at+"/"), Size: info.Size(),
			Open: func() (io.ReadCloser, error) { return d.root.Open(filepath.FromSlash(name)) },
		})
	})
	return err
}

// place is where a location is beneath the directory of artifacts.
func (d *Database) place(location string) (string, bool) {
	at, ok := proxyPath(location)
	if !ok {
		u, err := url.Parse(location)
		if err != nil || (u.Scheme != "" && u.Scheme != "file") {
			return "", false
		}
		rel, err := filepath.Rel(d.dir, filepath.FromSlash(u.Path))
		if err != nil {
			return "", false
		}
		at = filepath.ToSlash(rel)
	}
	at = path.Clean(at)
	return at, fs.ValidPath(at)
}
