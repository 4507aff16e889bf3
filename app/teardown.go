package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A teardown is the list of what must be released, in the order it was acquired. It runs last in, first out, so that
// nothing is released while something acquired later may still use it.
type teardown struct {
	mu    sync.Mutex
	steps []teardownStep
}

type teardownStep struct {
	name string
	stop func(context.Context) error
}

// add registers stop under name. Call it on the line after the acquire.
func (t *teardown) add(name string, stop func(context.Context) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, teardownStep{name, stop})
}

// run runs every step, even after one has failed, and joins the errors under the names of their steps. A second run
// does nothing.
func (t *teardown) run(ctx context.Context, lg *slog.Logger) error {
	t.mu.Lock()
	steps := t.steps
	t.steps = nil
	t.mu.Unlock()

	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		step := steps[i]
		began := time.Now()
		err := step.stop(ctx)
		lg.Debug("stopped", "step", step.name, "took", time.Since(began), "err", err)
		if err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", step.name, err))
		}
	}
	return errors.Join(errs...)
}
