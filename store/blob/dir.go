// Package blob keeps blobs in a directory or in memory.
//
// In a directory a blob is the file sha256/<hex digits>. It is written to a file in tmp/, synced, renamed into place,
// and the directory is synced: a crash leaves a whole blob or none, and at worst a file in tmp/, which the next [Dir]
// removes. A blob that is put again replaces its own file by the same bytes, which also mends a damaged one.
package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stoaproject/stoa/store"
)

const (
	keptName = "sha256"
	tmpName  = "tmp"
)

// dir is a [store.Blobs] in a directory.
type dir struct {
	kept string
	tmp  string
}

// Dir keeps blobs in the directory path, which it makes (mode 0700) when it does not exist, and removes what a crash
// left half-written there. The directory must belong to this process alone.
func Dir(path string) (store.Blobs, error) {
	d := &dir{kept: filepath.Join(path, keptName), tmp: filepath.Join(path, tmpName)}
	if err := d.prepare(path); err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", path, store.FromOS(err))
	}
	return d, nil
}

func (d *dir) prepare(path string) error {
	for _, name := range []string{d.kept, d.tmp} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return err
		}
	}
	leftovers, err := os.ReadDir(d.tmp)
	if err != nil {
		return err
	}
	for _, leftover := range leftovers {
		if err := os.RemoveAll(filepath.Join(d.tmp, leftover.Name())); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(path), syncDir(filepath.Dir(path)))
}

// Put implements [store.Blobs].
func (d *dir) Put(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	file, err := os.CreateTemp(d.tmp, "put-*")
	if err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", store.FromOS(err))
	}
	defer func() {
		if err != nil {
			// Closing twice and removing what is renamed away are harmless, and err is what matters.
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	digest, size, err = copyDigest(file, contextReader{ctx, r})
	if err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", store.FromOS(err))
	}
	if err = d.keep(file, digest); err != nil {
		return "", 0, fmt.Errorf("blob: put %s: %w", digest, store.FromOS(err))
	}
	return digest, size, nil
}

// keep moves the written file to its place, durably.
func (d *dir) keep(file *os.File, digest string) error {
	digits, err := store.DigestHex(digest)
	if err != nil {
		return err
	}
	if err := file.Chmod(0o400); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(d.kept, digits)); err != nil {
		return err
	}
	return syncDir(d.kept)
}

// Open implements [store.Blobs].
func (d *dir) Open(_ context.Context, digest string) (io.ReadCloser, error) {
	digits, err := store.DigestHex(digest)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(filepath.Join(d.kept, digits))
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", digest, notFound(err))
	}
	return &verifier{source: file, hash: sha256.New(), want: digest}, nil
}

// Stat implements [store.Blobs].
func (d *dir) Stat(_ context.Context, digest string) (int64, error) {
	digits, err := store.DigestHex(digest)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(filepath.Join(d.kept, digits))
	if err != nil {
		return 0, fmt.Errorf("blob: stat %s: %w", digest, notFound(err))
	}
	return info.Size(), nil
}

// List implements [store.Blobs]. Files whose name is not that of a blob are passed over.
func (d *dir) List(ctx context.Context, fn func(digest string, size int64) error) error {
	entries, err := os.ReadDir(d.kept) // sorted by name
	if err != nil {
		return fmt.Errorf("blob: list: %w", err)
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		digest := "sha256:" + entry.Name()
		if _, err := store.DigestHex(digest); err != nil {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("blob: list: %w", err)
		}
		if err := fn(digest, info.Size()); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements [store.Blobs].
func (d *dir) Delete(_ context.Context, digest string) error {
	digits, err := store.DigestHex(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.kept, digits)); err != nil {
		return fmt.Errorf("blob: delete %s: %w", digest, store.FromOS(notFound(err)))
	}
	if err := syncDir(d.kept); err != nil {
		return fmt.Errorf("blob: delete %s: %w", digest, store.FromOS(err))
	}
	return nil
}

// notFound wraps the error for a missing file with [store.ErrNotFound].
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
