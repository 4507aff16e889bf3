package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/stoaproject/stoa/store"
)

// memory is a [store.Blobs] in memory.
type memory struct {
	mu    sync.RWMutex
	blobs map[string][]byte // by digest; a value is never changed
}

// Memory keeps blobs in memory, for tests and for trying things out.
func Memory() store.Blobs { return &memory{blobs: map[string][]byte{}} }

// Put implements [store.Blobs].
func (m *memory) Put(ctx context.Context, r io.Reader) (string, int64, error) {
	var kept bytes.Buffer
	digest, size, err := copyDigest(&kept, contextReader{ctx, r})
	if err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[digest] = kept.Bytes()
	return digest, size, nil
}

// Open implements [store.Blobs].
func (m *memory) Open(_ context.Context, digest string) (io.ReadCloser, error) {
	kept, err := m.get(digest)
	if err != nil {
		return nil, err
	}
	return &verifier{source: io.NopCloser(bytes.NewReader(kept)), hash: sha256.New(), want: digest}, nil
}

// Stat implements [store.Blobs].
func (m *memory) Stat(_ context.Context, digest string) (int64, error) {
	kept, err := m.get(digest)
	return int64(len(kept)), err
}

func (m *memory) get(digest string) ([]byte, error) {
	if _, err := store.DigestHex(digest); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	kept, found := m.blobs[digest]
	if !found {
		return nil, fmt.Errorf("blob: %s: %w", digest, store.ErrNotFound)
	}
	return kept, nil
}

// List implements [store.Blobs]. It lists the blobs that there were when it began.
func (m *memory) List(ctx context.Context, fn func(digest string, size int64) error) error {
	m.mu.RLock()
	blobs := maps.Clone(m.blobs)
	m.mu.RUnlock()
	for _, digest := range slices.Sorted(maps.Keys(blobs)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(digest, int64(len(blobs[digest]))); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements [store.Blobs].
func (m *memory) Delete(_ context.Context, digest string) error {
	if _, err := m.get(digest); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, digest)
	return nil
}
