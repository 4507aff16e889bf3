package registry

import (
	"context"
	"time"

	"github.com/stoaproject/stoa/store"
)

// editModel changes what is said about a model: fn gets a copy to change, and the time.
func (r *Registry) editModel(
	ctx context.Context, name string, fn func(tx *store.Tx, m *model, at time.Time) error,
) error {
	before := r.Generation()
	err := r.config.DB.Write(ctx, func(tx *store.Tx) error {
		m, err := r.current.Load().model(name)
		if err != nil {
			return err
		}
		next := *m
		if err := fn(tx, &next, r.now()); err != nil {
			return err
		}
		if err := writeAbout(ctx, tx, name, next.about); err != nil {
			return err
		}
		r.publish(tx, name, &next)
		return nil
	})
	if err != nil {
		return err
	}
	r.changed(before)
	return nil
}

// editVersion changes what is said about a version: fn gets a copy to change, and the time.
func (r *Registry) editVersion(
	ctx context.Context, name string, number int, fn func(tx *store.Tx, v *version, at time.Time) error,
) error {
	return r.editModel(ctx, name, func(tx *store.Tx, m *model, at time.Time) error {
		v, found := m.at(number)
		if !found {
			return noModelVersion(name, number)
		}
		if err := fn(tx, &v, at); err != nil {
			return err
		}
		*m = *m.withVersion(v)
		return updateVersion(ctx, tx, v)
	})
}

// now is the time as the database keeps it.
func (r *Registry) now() time.Time { return fromMicros(r.config.Now().UnixMicro()) }
