package transfer

import (
	"context"
	"fmt"
)

// promptTag marks a registered model that is a prompt.
const promptTag = "mlflow.prompt.is_prompt"

// RegisteredModels implements [Source].
func (d *Database) RegisteredModels(ctx context.Context, yield func(*RegisteredModel) error) error {
	if !d.has["registered_models"] {
		return nil
	}
	var all []*RegisteredModel
	err := d.rows(ctx, `SELECT name, COALESCE(description, '') FROM registered_models ORDER BY creation_time, name`, nil,
		func(scan scanner) error {
			r := &RegisteredModel{}
			all = append(all, r)
			return scan(&r.Name, &r.Description)
		})
	if err != nil {
		return err
	}
	for _, r := range all {
		if d.has["registered_model_tags"] {
			r.Tags, err = d.pairs(ctx, `SELECT key, COALESCE(value, '') FROM registered_model_tags WHERE name = ?`, r.Name)
			if err != nil {
				return err
			}
		}
		if tagsNamed(r.Tags, promptTag) != nil {
			continue
		}
		if err := d.fillModel(ctx, r); err != nil {
			return err
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// fillModel reads the versions and aliases of a registered model.
func (d *Database) fillModel(ctx context.Context, r *RegisteredModel) error {
	err := d.rows(ctx, `SELECT version, COALESCE(creation_time, 0), COALESCE(description, ''), COALESCE(source, ''),
		COALESCE(run_id, ''), COALESCE(current_stage, '') FROM model_versions
		WHERE name = ? AND current_stage <> 'Deleted_Internal' ORDER BY version`, []any{r.Name}, func(scan scanner) error {
		var v Version
		err := scan(&v.Number, &v.Created, &v.Description, &v.Source, &v.RunID, &v.Stage)
		r.Versions = append(r.Versions, v)
		return err
	})
	if err != nil {
		return err
	}
	if d.has["model_version_tags"] {
		for i := range r.Versions {
			v := &r.Versions[i]
			v.Tags, err = d.pairs(ctx, `SELECT key, COALESCE(value, '') FROM model_version_tags WHERE name = ? AND version = ?`,
				r.Name, v.Number)
			if err != nil {
				return err
			}
		}
	}
	if !d.has["registered_model_aliases"] {
		return nil
	}
	return d.rows(ctx, `SELECT alias, version FROM registered_model_aliases WHERE name = ? ORDER BY alias`, []any{r.Name},
		func(scan scanner) error {
			var a Alias
			err := scan(&a.Alias, &a.Version)
			r.Aliases = append(r.Aliases, a)
			return err
		})
}

// Omitted implements [Source].
func (d *Database) Omitted(ctx context.Context) ([]string, error) {
	var omitted []string
	for _, q := range []struct{ table, what, where string }{
		{"experiments", "deleted experiments, with all in them", "lifecycle_stage <> 'active'"},
		{"runs", "deleted runs", "lifecycle_stage <> 'active'"},
		{"registered_model_tags", "prompts", "key = '" + promptTag + "'"},
		{"trace_info", "traces", "1 = 1"},
		{"scorers", "scorers", "1 = 1"},
		{"evaluation_datasets", "evaluation data sets", "1 = 1"},
		{"webhooks", "webhooks", "deleted_timestamp IS NULL"},
	} {
		if !d.has[q.table] {
			continue
		}
		var n int
		err := d.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+q.table+` WHERE `+q.where).Scan(&n)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			omitted = append(omitted, fmt.Sprintf("%d %s", n, q.what))
		}
	}
	return omitted, nil
}
