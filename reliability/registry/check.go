package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// Check reads everything, the artifacts included, and says what is wrong, one line for each: numbers with a gap, an
// alias that points nowhere, an artifact that is missing, damaged or of another size, memory that differs from the
// database. Blobs that no version names are not wrong; see [Registry.Sweep].
func (r *Registry) Check(ctx context.Context) ([]string, error) {
	var stored, held *snapshot
	var wrong []string
	// Write, and not Read, so that nothing is committed between looking at the database and at memory.
	err := r.config.DB.Write(ctx, func(tx *store.Tx) (err error) {
		stored, err = load(ctx, tx)
		held = r.current.Load()
		return err
	})
	if errors.Is(err, store.ErrCorrupt) {
		wrong = append(wrong, err.Error())
		stored = held
	} else if err != nil {
		return nil, fmt.Errorf("registry: check: %w", err)
	}
	if !reflect.DeepEqual(stored.models, held.models) {
		wrong = append(wrong, "what is held in memory is not what is in the database: restart the process")
	}
	for _, name := range slices.Sorted(maps.Keys(stored.models)) {
		for _, v := range stored.models[name].versions {
			if v.Digest == "" || v.deleted {
				continue
			}
			trouble, err := r.checkArtifact(ctx, v.Version)
			if err != nil {
				return wrong, fmt.Errorf("registry: check: %w", err)
			}
			if trouble != "" {
				wrong = append(wrong, fmt.Sprintf("version %d of %s: %s", v.Number, name, trouble))
			}
		}
	}
	return wrong, nil
}

// checkArtifact says what is wrong with the artifact of a version, or "".
func (r *Registry) checkArtifact(ctx context.Context, v stoa.Version) (trouble string, err error) {
	blob, err := r.config.Blobs.Open(ctx, v.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return "the artifact is missing", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	size, err := io.Copy(io.Discard, blob)
	if errors.Is(err, store.ErrCorrupt) {
		return "the artifact is damaged: " + err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	if size != v.Size {
		return fmt.Sprintf("the artifact has %d bytes, should have %d", size, v.Size), nil
	}
	return "", nil
}

// Sweep deletes the blobs that no version names and says how many it deleted: what a crash left between a blob and its
// row, and the artifacts of versions that are deleted. Where others keep blobs in the same store, keep says which of
// them to leave alone; nil says that nobody does.
func (r *Registry) Sweep(ctx context.Context, keep func(digest string) bool) (int, error) {
	r.sweeping.Lock()
	defer r.sweeping.Unlock()
	named := map[string]bool{}
	for _, m := range r.current.Load().models {
		for _, v := range m.versions {
			if !v.deleted {
				named[v.Digest] = true
			}
		}
	}
	var orphans []string
	err := r.config.Blobs.List(ctx, func(digest string, _ int64) error {
		if !named[digest] && (keep == nil || !keep(digest)) {
			orphans = append(orphans, digest)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("registry: sweep: %w", err)
	}
	for i, digest := range orphans {
		if err := r.config.Blobs.Delete(ctx, digest); err != nil {
			return i, fmt.Errorf("registry: sweep: %w", err)
		}
	}
	return len(orphans), nil
}
