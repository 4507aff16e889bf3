package experiment

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// An ArtifactFile is an open artifact. The caller closes Body, which gives an error that wraps [store.ErrCorrupt] at its
// end when the bytes are not those that were put.
type ArtifactFile struct {
	Body   io.ReadCloser
	Size   int64  // bytes
	Name   string // the last part of its path
	Digest string
}

// PutArtifact keeps the bytes of body at a path, in place of what was there. They are read once and never held in
// memory; when body or the disk fails, what was there stays.
func (t *Tracking) PutArtifact(ctx context.Context, _ stoa.Caller, path string, body io.Reader) error {
	name, err := artifactPath(path)
	if err != nil {
		return err
	}
	if name == "" || strings.HasSuffix(path, "/") {
		return invalid("Invalid path: %.200q names a directory", path)
	}
	digest, size, err := t.config.Blobs.Put(ctx, body)
	if err != nil {
		return outward(err)
	}
	var orphans []string
	err = t.keeping(ctx, digest, func(tx *store.Tx) (err error) {
		orphans, err = putFile(ctx, tx, name, digest, size)
		return err
	})
	if err != nil {
		orphans = append(orphans, digest)
	}
	_, collected := t.collect(ctx, orphans)
	return errors.Join(err, collected)
}

// keeping runs fn, which makes a row that names a blob, while no blob is deleted, and only when the blob is still there:
// the last row that named the same bytes may have gone while they were being put.
func (t *Tracking) keeping(ctx context.Context, digest string, fn func(*store.Tx) error) error {
	t.collecting.RLock()
	defer t.collecting.RUnlock()
	if _, err := t.config.Blobs.Stat(ctx, digest); err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			return outward(err)
		}
		return &stoa.Refusal{
			Reason: stoa.ReasonOverloaded, Message: "The same bytes were deleted while they were being stored.",
			Hint: "send them again", RetryAfter: time.Second, Err: err,
		}
	}
	return t.write(ctx, fn)
}

// collect deletes the blobs of digests that no row names any more, and counts them.
func (t *Tracking) collect(ctx context.Context, digests []string) (freed int, err error) {
	if len(digests) == 0 {
		return 0, nil
	}
	// What the transaction before has freed is deleted even when the client has gone.
	ctx = context.WithoutCancel(ctx)
	t.collecting.Lock()
	defer t.collecting.Unlock()
	var free []string
	err = t.read(ctx, func(tx *store.Tx) error {
		for _, digest := range digests {
			var named int
			err := tx.QueryRow(ctx, `SELECT (SELECT COUNT(*) FROM experiment_artifact WHERE digest = ?)
				+ (SELECT COUNT(*) FROM experiment_part WHERE digest = ?)`, digest, digest).Scan(&named)
			if err != nil {
				return err
			}
			if named == 0 {
				free = append(free, digest)
			}
		}
		return nil
	})
	for _, digest := range free {
		switch gone := t.config.Blobs.Delete(ctx, digest); {
		case gone == nil:
			freed++
		case !errors.Is(gone, store.ErrNotFound):
			err = errors.Join(err, outward(gone))
		}
	}
	return freed, err
}

// Sweep deletes the blobs that no artifact names, which a crash between the bytes and their row leaves behind, and the
// uploads that were begun before olderThan. It returns how many blobs it deleted.
func (t *Tracking) Sweep(ctx context.Context, olderThan time.Time) (int, error) {
	if err := t.write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM experiment_part WHERE upload IN
			(SELECT upload FROM experiment_upload WHERE started < ?)`, olderThan.UnixMilli())
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM experiment_upload WHERE started < ?`, olderThan.UnixMilli())
		return err
	}); err != nil {
		return 0, err
	}
	swept := 0
	var digests []string
	err := t.config.Blobs.List(ctx, func(digest string, _ int64) error {
		digests = append(digests, digest)
		return nil
	})
	if err != nil {
		return 0, outward(err)
	}
	for _, digest := range digests {
		freed, err := t.collect(ctx, []string{digest})
		swept += freed
		if err != nil {
			return swept, err
		}
	}
	return swept, nil
}

// putFile makes the row of a file and of the directories that it is in. It returns the digest that was there.
func putFile(ctx context.Context, tx *store.Tx, name, digest string, size int64) (orphans []string, err error) {
	parent, base := splitArtifact(name)
	for directory := parent; directory != ""; {
		above, last := splitArtifact(directory)
		var there string
		err := tx.QueryRow(ctx, `INSERT INTO experiment_artifact (parent, name, digest, size) VALUES (?, ?, '', 0)
			ON CONFLICT (parent, name) DO UPDATE SET size = experiment_artifact.size RETURNING digest`, above, last).
			Scan(&there)
		if err != nil {
			return nil, err
		}
		if there != "" {
			return nil, invalid("Invalid path: '%s' is a file, not a directory", directory)
		}
		directory = above
	}
	var old string
	err = tx.QueryRow(ctx, `SELECT digest FROM experiment_artifact WHERE parent = ? AND name = ?`, parent, base).Scan(&old)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return nil, err
	case old == "":
		return nil, invalid("Invalid path: '%s' is a directory", name)
	case old != digest:
		orphans = append(orphans, old)
	}
	_, err = tx.Exec(ctx, `INSERT INTO experiment_artifact (parent, name, digest, size) VALUES (?, ?, ?, ?)
		ON CONFLICT (parent, name) DO UPDATE SET digest = excluded.digest, size = excluded.size`, parent, base, digest, size)
	return orphans, err
}

func noArtifact(name string) error { return notFound("No such artifact: '%s'", name) }

// OpenArtifact opens the file at a path; not_found when there is none.
func (t *Tracking) OpenArtifact(ctx context.Context, _ stoa.Caller, path string) (*ArtifactFile, error) {
	name, err := artifactPath(path)
	if err != nil {
		return nil, err
	}
	parent, base := splitArtifact(name)
	file := &ArtifactFile{Name: base}
	err = t.read(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(ctx, `SELECT digest, size FROM experiment_artifact WHERE parent = ? AND name = ?`, parent, base).
			Scan(&file.Digest, &file.Size)
		if errors.Is(err, sql.ErrNoRows) || err == nil && file.Digest == "" {
			return noArtifact(name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if file.Body, err = t.config.Blobs.Open(ctx, file.Digest); err != nil {
		return nil, outward(err)
	}
	return file, nil
}

// ListArtifactsAt lists the files and directories directly beneath a path by name; the path of each is relative to it.
// A path that is not there, or is a file, has none.
func (t *Tracking) ListArtifactsAt(ctx context.Context, _ stoa.Caller, path string) (*ListArtifactsResponse, error) {
	name, err := artifactPath(path)
	if err != nil {
		return nil, err
	}
	files, err := t.list(ctx, name, "")
	if err != nil {
		return nil, err
	}
	return &ListArtifactsResponse{Files: files}, nil
}

// list gives what is directly beneath a directory, each path with prefix before it.
func (t *Tracking) list(ctx context.Context, directory, prefix string) ([]FileInfo, error) {
	var files []FileInfo
	err := t.read(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `SELECT name, digest, size FROM experiment_artifact WHERE parent = ? ORDER BY name`,
			directory)
		if err != nil {
			return err
		}
		return scanAll(rows, func() error {
			var file FileInfo
			var digest string
			var size Int64
			if err := rows.Scan(&file.Path, &digest, (*int64)(&size)); err != nil {
				return err
			}
			if prefix != "" {
				file.Path = prefix + "/" + file.Path
			}
			if file.IsDir = digest == ""; !file.IsDir {
				file.FileSize = &size
			}
			files = append(files, file)
			return nil
		})
	})
	return files, err
}

// ListArtifacts lists the artifacts of a run directly beneath a path, relative to the run.
func (t *Tracking) ListArtifacts(
	ctx context.Context, _ stoa.Caller, req *ListArtifactsRequest,
) (*ListArtifactsResponse, error) {
	runID, err := runIDOf(req.RunID, req.RunUUID)
	if err != nil {
		return nil, err
	}
	return t.listOf(ctx, req.Path, noRun(runID), `SELECT location FROM experiment_run WHERE run_id = ?`, runID)
}

// ListLoggedModelArtifacts lists the artifacts of a logged model directly beneath a path, relative to the model.
func (t *Tracking) ListLoggedModelArtifacts(
	ctx context.Context, _ stoa.Caller, req *ListLoggedModelArtifactsRequest,
) (*ListArtifactsResponse, error) {
	return t.listOf(ctx, req.Path, noModel(req.ModelID),
		`SELECT location FROM experiment_model WHERE model_id = ? AND stage = 'active'`, req.ModelID)
}

// listOf lists what is beneath the location that a query finds, or gives none.
func (t *Tracking) listOf(ctx context.Context, path string, none error, query, id string) (*ListArtifactsResponse, error) {
	name, err := artifactPath(path)
	if err != nil {
		return nil, err
	}
	var location string
	err = t.read(ctx, func(tx *store.Tx) error {
		err := tx.QueryRow(ctx, query, id).Scan(&location)
		if errors.Is(err, sql.ErrNoRows) {
			err = none
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	root, ours := rootOf(location)
	if !ours {
		return nil, elsewhere(location)
	}
	directory := root
	if name != "" {
		directory += "/" + name
	}
	files, err := t.list(ctx, directory, name)
	if err != nil {
		return nil, err
	}
	return &ListArtifactsResponse{RootURI: location, Files: files}, nil
}

// DeleteArtifact deletes the file at a path, or the directory with everything beneath it; not_found when there is none.
func (t *Tracking) DeleteArtifact(ctx context.Context, _ stoa.Caller, path string) error {
	name, err := artifactPath(path)
	if err != nil {
		return err
	}
	if name == "" {
		return invalid("Invalid path: the root cannot be deleted")
	}
	var orphans []string
	err = t.write(ctx, func(tx *store.Tx) (err error) {
		orphans, err = removeTree(ctx, tx, name)
		if err == nil && orphans == nil {
			err = noArtifact(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = t.collect(ctx, orphans)
	return err
}

// removeTree removes the rows of a path and of everything beneath it. It returns their digests, and nil when there was
// nothing.
func removeTree(ctx context.Context, tx *store.Tx, name string) ([]string, error) {
	parent, base := splitArtifact(name)
	var digest string
	err := tx.QueryRow(ctx, `DELETE FROM experiment_artifact WHERE parent = ? AND name = ? RETURNING digest`, parent, base).
		Scan(&digest)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	orphans := []string{}
	if digest != "" {
		return append(orphans, digest), nil
	}
	for directories := []string{name}; len(directories) > 0; directories = directories[1:] {
		rows, err := tx.Query(ctx, `DELETE FROM experiment_artifact WHERE parent = ? RETURNING name, digest`, directories[0])
		if err != nil {
			return nil, err
		}
		err = scanAll(rows, func() error {
			var child, digest string
			err := rows.Scan(&child, &digest)
			if digest != "" {
				orphans = append(orphans, digest)
			} else {
				directories = append(directories, directories[0]+"/"+child)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return orphans, nil
}
