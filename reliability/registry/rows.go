package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// spec is a [stoa.TensorSpec] as stored, so that the names in the database stay when those of the foyer change.
type spec struct {
	Name     string        `json:"name"`
	Datatype stoa.Datatype `json:"datatype"`
	Shape    []int64       `json:"shape"`
}

const versionColumns = "model, number, digest, size, format, parent, data_digest, code, parameters, metrics, inputs, " +
	"outputs, created_at, created_by, source, run_id, unservable, model_id, run_link, storage, description, stage, " +
	"tags, gates, updated_at, deleted_at"

// insertVersion stores a new version.
func insertVersion(ctx context.Context, tx *store.Tx, v version) error {
	encoded, err := encode(v.Parameters, v.Metrics, toSpecs(v.Inputs), toSpecs(v.Outputs), v.tags, v.gates)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO registry_version ("+versionColumns+
		") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		v.Model, v.Number, v.Digest, v.Size, v.Format, v.Parent, v.DataDigest, v.Code, encoded[0], encoded[1],
		encoded[2], encoded[3], v.CreatedAt.UnixMicro(), v.CreatedBy, v.Source, v.RunID, v.Unservable, v.modelID,
		v.runLink, v.storage, v.description, v.stage, encoded[4], encoded[5], v.updatedAt.UnixMicro(), 0)
	return err
}

// updateVersion stores what may change of a version, and what deleting it takes away.
func updateVersion(ctx context.Context, tx *store.Tx, v version) error {
	encoded, err := encode(v.tags, v.gates)
	if err != nil {
		return err
	}
	var deletedAt int64
	if v.deleted {
		deletedAt = v.updatedAt.UnixMicro()
	}
	_, err = tx.Exec(ctx, "UPDATE registry_version SET source = ?, run_id = ?, run_link = ?, storage = ?, "+
		"description = ?, stage = ?, tags = ?, gates = ?, updated_at = ?, deleted_at = ? WHERE model = ? AND number = ?",
		v.Source, v.RunID, v.runLink, v.storage, v.description, v.stage, encoded[0], encoded[1],
		v.updatedAt.UnixMicro(), deletedAt, v.Model, v.Number)
	return err
}

func encode(values ...any) ([]string, error) {
	encoded := make([]string, len(values))
	for i, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encode the version: %w", err)
		}
		encoded[i] = string(text)
	}
	return encoded, nil
}

// scanVersion reads a row of versionColumns.
func scanVersion(scan func(...any) error) (version, error) {
	var v version
	var parameters, metrics, inputs, outputs, tags, gates string
	var createdAt, updatedAt, deletedAt int64
	err := scan(&v.Model, &v.Number, &v.Digest, &v.Size, &v.Format, &v.Parent, &v.DataDigest, &v.Code, &parameters,
		&metrics, &inputs, &outputs, &createdAt, &v.CreatedBy, &v.Source, &v.RunID, &v.Unservable, &v.modelID,
		&v.runLink, &v.storage, &v.description, &v.stage, &tags, &gates, &updatedAt, &deletedAt)
	if err != nil {
		return version{}, err
	}
	var in, out []spec
	err = errors.Join(json.Unmarshal([]byte(parameters), &v.Parameters), json.Unmarshal([]byte(metrics), &v.Metrics),
		json.Unmarshal([]byte(inputs), &in), json.Unmarshal([]byte(outputs), &out),
		json.Unmarshal([]byte(tags), &v.tags), json.Unmarshal([]byte(gates), &v.gates))
	if err != nil {
		return version{}, fmt.Errorf("version %d of %s: %w: %w", v.Number, v.Model, store.ErrCorrupt, err)
	}
	v.Inputs, v.Outputs = fromSpecs(in), fromSpecs(out)
	v.CreatedAt, v.updatedAt = fromMicros(createdAt), fromMicros(updatedAt)
	v.Servable, v.deleted = v.Unservable == "", deletedAt != 0
	return v, nil
}

// writeAbout stores what is said about a model, which may be new.
func writeAbout(ctx context.Context, tx *store.Tx, name string, a about) error {
	tags, err := encode(a.tags)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO registry_model (name, description, tags, created_at, updated_at) "+
		"VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET description = excluded.description, "+
		"tags = excluded.tags, updated_at = excluded.updated_at",
		name, a.description, tags[0], a.createdAt.UnixMicro(), a.updatedAt.UnixMicro())
	return err
}

func toSpecs(specs []stoa.TensorSpec) []spec {
	stored := make([]spec, len(specs))
	for i, s := range specs {
		stored[i] = spec(s)
	}
	return stored
}

func fromSpecs(stored []spec) []stoa.TensorSpec {
	specs := make([]stoa.TensorSpec, len(stored))
	for i, s := range stored {
		specs[i] = stoa.TensorSpec(s)
	}
	return specs
}

func fromMicros(at int64) time.Time { return time.UnixMicro(at).UTC() }

// writeAliases turns the aliases of a model from before into after.
func writeAliases(ctx context.Context, tx *store.Tx, model string, before, after map[string]int) error {
	for _, alias := range slices.Sorted(maps.Keys(before)) {
		if _, stays := after[alias]; stays {
			continue
		}
		if _, err := tx.Exec(ctx, "DELETE FROM registry_alias WHERE model = ? AND alias = ?", model, alias); err != nil {
			return err
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(after)) {
		if before[alias] == after[alias] {
			continue
		}
		if _, err := tx.Exec(ctx, "INSERT INTO registry_alias (model, alias, number) VALUES (?, ?, ?) "+
			"ON CONFLICT (model, alias) DO UPDATE SET number = excluded.number", model, alias, after[alias]); err != nil {
			return err
		}
	}
	return nil
}

// load reads everything.
func load(ctx context.Context, tx *store.Tx) (*snapshot, error) {
	s := &snapshot{models: map[string]*model{}}
	err := each(ctx, tx, "SELECT name, description, tags, created_at, updated_at FROM registry_model", s.loadModel)
	if err != nil {
		return nil, fmt.Errorf("load the models: %w", err)
	}
	err = each(ctx, tx, "SELECT "+versionColumns+" FROM registry_version ORDER BY model, number",
		func(rows *sql.Rows) error {
			v, err := scanVersion(rows.Scan)
			if err != nil {
				return err
			}
			m := s.models[v.Model]
			if m == nil {
				return fmt.Errorf("%w: version %d is of the model %s, which does not exist", store.ErrCorrupt, v.Number,
					v.Model)
			}
			if v.Number != len(m.versions)+1 {
				return fmt.Errorf("%w: model %s goes from version %d to %d", store.ErrCorrupt, v.Model, len(m.versions),
					v.Number)
			}
			m.versions = append(m.versions, v)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("load the versions: %w", err)
	}
	err = each(ctx, tx, "SELECT model, alias, number FROM registry_alias", func(rows *sql.Rows) error {
		var name, alias string
		var number int
		if err := rows.Scan(&name, &alias, &number); err != nil {
			return err
		}
		if m := s.models[name]; m == nil || number < 1 || number > len(m.versions) {
			return fmt.Errorf("%w: alias %s of %s points at version %d, which does not exist", store.ErrCorrupt, alias,
				name, number)
		}
		s.models[name].aliases[alias] = number
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the aliases: %w", err)
	}
	return s, nil
}

// loadModel reads a row of registry_model.
func (s *snapshot) loadModel(rows *sql.Rows) error {
	var name, tags string
	var createdAt, updatedAt int64
	m := &model{aliases: map[string]int{}}
	if err := rows.Scan(&name, &m.description, &tags, &createdAt, &updatedAt); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(tags), &m.tags); err != nil {
		return fmt.Errorf("the tags of model %s: %w: %w", name, store.ErrCorrupt, err)
	}
	m.createdAt, m.updatedAt = fromMicros(createdAt), fromMicros(updatedAt)
	s.models[name] = m
	return nil
}

// each calls fn for each row of a query.
func each(ctx context.Context, tx *store.Tx, query string, fn func(*sql.Rows) error, args ...any) (err error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
