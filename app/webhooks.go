package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/mlflow"
	"github.com/stoaproject/stoa/operations/webhook"
	"github.com/stoaproject/stoa/reliability/registry"
)

// openWebhooks begins to tell other systems of the registry, and puts the webhooks on MLflow's wire.
func (a *App) openWebhooks(ctx context.Context, r *rooms, api *mlflow.API) error {
	hooks, err := webhook.New(ctx, webhook.Config{
		DB: r.db, Ledger: r.ledger, Describe: describeWith(r.registry.Wire()), Logger: a.lg,
		Loopback: func() bool { return a.plan.Load().workload.Security.Webhooks.Loopback },
	})
	if err != nil {
		return fmt.Errorf("opening the webhooks: %w", err)
	}
	a.down.add("webhooks", hooks.Close)
	mlflow.Handle(api, "POST", "webhooks", hooks.Create)
	mlflow.Handle(api, "GET", "webhooks", hooks.List)
	mlflow.Handle(api, "GET", "webhooks/{webhook_id}", hooks.Get)
	mlflow.Handle(api, "PATCH", "webhooks/{webhook_id}", hooks.Update)
	mlflow.Handle(api, "DELETE", "webhooks/{webhook_id}", hooks.Delete)
	mlflow.Handle(api, "POST", "webhooks/{webhook_id}/test", hooks.Test)
	return nil
}

// describeWith says of a model or a version what the registry's wire says now, and nothing of what is gone.
func describeWith(w *registry.Wire) func(context.Context, string, int) (webhook.About, error) {
	return func(ctx context.Context, model string, version int) (webhook.About, error) {
		about := webhook.About{Tags: map[string]string{}}
		var tags []registry.Tag
		if version == 0 {
			found, err := w.GetRegisteredModel(ctx, stoa.Caller{}, &registry.GetRegisteredModelRequest{Name: model})
			if err != nil {
				return webhook.About{}, unlessRefused(err)
			}
			about.Description, tags = found.RegisteredModel.Description, found.RegisteredModel.Tags
		} else {
			found, err := w.GetModelVersion(ctx, stoa.Caller{},
				&registry.ModelVersionRequest{Name: model, Version: strconv.Itoa(version)})
			if err != nil {
				return webhook.About{}, unlessRefused(err)
			}
			v := found.ModelVersion
			about.Source, about.RunID, tags = v.Source, v.RunID, v.Tags
			if v.Description != nil {
				about.Description = *v.Description
			}
		}
		for _, tag := range tags {
			about.Tags[tag.Key] = tag.Value
		}
		return about, nil
	}
}

// unlessRefused gives an error that is no refusal. The registry refuses what it does not have.
func unlessRefused(err error) error {
	var refusal *stoa.Refusal
	if errors.As(err, &refusal) {
		return nil
	}
	return err
}
