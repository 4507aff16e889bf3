package experiment

import (
	"context"
	"database/sql"
	"errors"
	"io"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// maxParts is how many parts an upload may have.
const maxParts = 10000

// CreateUpload begins the upload of a file in parts, and returns its id. Until it is completed nothing is at the path.
func (t *Tracking) CreateUpload(ctx context.Context, _ stoa.Caller, path string) (upload string, err error) {
	name, err := artifactPath(path)
	if err != nil {
		return "", err
	}
	if name == "" {
		return "", invalid("Invalid path: %.200q names a directory", path)
	}
	upload = randomHex()
	err = t.write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO experiment_upload (upload, path, started) VALUES (?, ?, ?)`,
			upload, name, t.now())
		return err
	})
	return upload, err
}

// PutPart keeps one part of an upload, in place of what that part was, and returns its digest as its tag.
func (t *Tracking) PutPart(
	ctx context.Context, _ stoa.Caller, upload string, number int, body io.Reader,
) (etag string, err error) {
	if number < 1 || number > maxParts {
		return "", invalid("Part numbers are from 1 to %d, got %d.", maxParts, number)
	}
	digest, size, err := t.config.Blobs.Put(ctx, body)
	if err != nil {
		return "", outward(err)
	}
	var orphans []string
	err = t.keeping(ctx, digest, func(tx *store.Tx) error {
		if _, err := uploadPath(ctx, tx, upload); err != nil {
			return err
		}
		var old string
		err := tx.QueryRow(ctx, `SELECT digest FROM experiment_part WHERE upload = ? AND number = ?`, upload, number).
			Scan(&old)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if old != "" && old != digest {
			orphans = append(orphans, old)
		}
		_, err = tx.Exec(ctx, `INSERT INTO experiment_part (upload, number, digest, size) VALUES (?, ?, ?, ?)
			ON CONFLICT (upload, number) DO UPDATE SET digest = excluded.digest, size = excluded.size`,
			upload, number, digest, size)
		return err
	})
	if err != nil {
		orphans = append(orphans, digest)
	}
	_, collected := t.collect(ctx, orphans)
	return digest, errors.Join(err, collected)
}

// uploadPath gives the path of an upload that is under way.
func uploadPath(ctx context.Context, tx *store.Tx, upload string) (path string, err error) {
	err = tx.QueryRow(ctx, `SELECT path FROM experiment_upload WHERE upload = ?`, upload).Scan(&path)
	if errors.Is(err, sql.ErrNoRows) {
		err = notFound("No upload with id '%.100s'", upload)
	}
	return path, err
}

// CompleteUpload puts the parts together, in the order of their numbers, at the path of the upload. Every part named
// must have been put, with the tag that it was given.
func (t *Tracking) CompleteUpload(ctx context.Context, caller stoa.Caller, upload, path string, parts []Part) error {
	name, err := artifactPath(path)
	if err != nil {
		return err
	}
	var digests []string
	err = t.read(ctx, func(tx *store.Tx) (err error) {
		digests, err = partDigests(ctx, tx, upload, name, parts)
		return err
	})
	if err != nil {
		return err
	}
	joined := &joinedBlobs{ctx: ctx, blobs: t.config.Blobs, digests: digests}
	defer joined.close()
	if err := t.PutArtifact(ctx, caller, name, joined); err != nil {
		return err
	}
	return t.dropUpload(ctx, upload)
}

// partDigests gives the digests of the parts of an upload to name, when parts are all of them.
func partDigests(ctx context.Context, tx *store.Tx, upload, name string, parts []Part) ([]string, error) {
	path, err := uploadPath(ctx, tx, upload)
	if err != nil {
		return nil, err
	}
	if path != name {
		return nil, invalid("The upload is to '%s', not to '%s'.", path, name)
	}
	rows, err := tx.Query(ctx, `SELECT number, digest FROM experiment_part WHERE upload = ? ORDER BY number`, upload)
	if err != nil {
		return nil, err
	}
	tags := make(map[int]string, len(parts))
	for _, p := range parts {
		tags[p.Number] = p.ETag
	}
	var digests []string
	err = scanAll(rows, func() error {
		var number int
		var digest string
		if err := rows.Scan(&number, &digest); err != nil {
			return err
		}
		if tag, named := tags[number]; !named || tag != digest {
			return invalid("Part %d was put and is not named with its tag.", number)
		}
		digests = append(digests, digest)
		return nil
	})
	if err == nil && len(digests) != len(tags) {
		err = invalid("%d parts are named and %d were put.", len(tags), len(digests))
	}
	return digests, err
}

// AbortUpload ends an upload without a trace; not_found when it is not under way.
func (t *Tracking) AbortUpload(ctx context.Context, _ stoa.Caller, upload string) error {
	err := t.read(ctx, func(tx *store.Tx) error {
		_, err := uploadPath(ctx, tx, upload)
		return err
	})
	if err != nil {
		return err
	}
	return t.dropUpload(ctx, upload)
}

// dropUpload forgets an upload and its parts.
func (t *Tracking) dropUpload(ctx context.Context, upload string) error {
	var orphans []string
	err := t.write(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ctx, `DELETE FROM experiment_part WHERE upload = ? RETURNING digest`, upload)
		if err != nil {
			return err
		}
		err = scanAll(rows, func() error {
			var digest string
			err := rows.Scan(&digest)
			orphans = append(orphans, digest)
			return err
		})
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM experiment_upload WHERE upload = ?`, upload)
		return err
	})
	if err != nil {
		return err
	}
	_, err = t.collect(ctx, orphans)
	return err
}

// joinedBlobs reads blobs one after the other, with at most one open.
type joinedBlobs struct {
	ctx     context.Context // of the call that reads; the reader does not outlive it
	blobs   store.Blobs
	digests []string
	open    io.ReadCloser
}

// Read reads on, opening the next blob when one has ended.
func (j *joinedBlobs) Read(into []byte) (int, error) {
	for {
		if j.open == nil {
			if len(j.digests) == 0 {
				return 0, io.EOF
			}
			opened, err := j.blobs.Open(j.ctx, j.digests[0])
			if err != nil {
				return 0, err
			}
			j.open, j.digests = opened, j.digests[1:]
		}
		n, err := j.open.Read(into)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		j.close()
		if n > 0 {
			return n, nil
		}
	}
}

func (j *joinedBlobs) close() {
	if j.open != nil {
		_ = j.open.Close()
		j.open = nil
	}
}
