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
	"outputs, created_at, created_by"

// insertVersion stores a new version.
func insertVersion(ctx context.Context, tx *store.Tx, v stoa.Version) error {
	var encoded [4]string
	for i, value := range []any{v.Parameters, v.Metrics, toSpecs(v.Inputs), toSpecs(v.Outputs)} {
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode the version: %w", err)
		}
		encoded[i] = string(text)
	}
	_, err := tx.Exec(ctx, "INSERT INTO registry_version ("+versionColumns+
		") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		v.Model, v.Number, v.Digest, v.Size, v.Format, v.Parent, v.DataDigest, v.Code, encoded[0], encoded[1],
		encoded[2], encoded[3], v.CreatedAt.UnixMicro(), v.CreatedBy)
	return err
}

// scanVersion reads a row of versionColumns.
func scanVersion(scan func(...any) error) (stoa.Version, error) {
	var v stoa.Version
	var parameters, metrics, inputs, outputs string
	var createdAt int64
	err := scan(&v.Model, &v.Number, &v.Digest, &v.Size, &v.Format, &v.Parent, &v.DataDigest, &v.Code, &parameters,
		&metrics, &inputs, &outputs, &createdAt, &v.CreatedBy)
	if err != nil {
		return stoa.Version{}, err
	}
	var in, out []spec
	err = errors.Join(json.Unmarshal([]byte(parameters), &v.Parameters), json.Unmarshal([]byte(metrics), &v.Metrics),
		json.Unmarshal([]byte(inputs), &in), json.Unmarshal([]byte(outputs), &out))
	if err != nil {
		return stoa.Version{}, fmt.Errorf("version %d of %s: %w: %w", v.Number, v.Model, store.ErrCorrupt, err)
	}
	v.Inputs, v.Outputs, v.CreatedAt = fromSpecs(in), fromSpecs(out), fromMicros(createdAt)
	return v, nil
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
	err := each(ctx, tx, "SELECT "+versionColumns+" FROM registry_version ORDER BY model, number",
		func(rows *sql.Rows) error {
			v, err := scanVersion(rows.Scan)
			if err != nil {
				return err
			}
			m := s.models[v.Model]
			if m == nil {
				m = &model{aliases: map[string]int{}}
				s.models[v.Model] = m
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

// each calls fn for each row of a query.
func each(ctx context.Context, tx *store.Tx, query string, fn func(*sql.Rows) error) (err error) {
	rows, err := tx.Query(ctx, query)
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
