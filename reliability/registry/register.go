package registry

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

// FormatONNX is the format of a [Candidate] that names none.
const FormatONNX = "onnx"

// A Candidate is a version to register. Model, Artifact and By must be set.
type Candidate struct {
	Model      string
	Artifact   io.Reader
	Format     string // empty means FormatONNX
	Parent     int    // version it is to succeed; 0 for none
	DataDigest string // digest of the training data
	Code       string // what trained it: a command line or a code reference
	Parameters map[string]string
	Metrics    map[string]float64 // finite
	By         string
}

// Register makes a candidate the next version of its model. When the model has a version with the same artifact
// already, Register returns that version, as it is, and records nothing.
//
// The error is a *[stoa.Refusal] when the candidate is at fault: what Inspect refuses it for, too_large, invalid, or
// unknown_version for its parent. When Register fails, no version has come to be.
func (r *Registry) Register(ctx context.Context, c Candidate) (stoa.Version, error) {
	v, artifact, err := r.inspect(c)
	if err != nil {
		return stoa.Version{}, err
	}
	before := r.Generation()
	v, err = r.keep(ctx, v, artifact)
	if err != nil {
		return stoa.Version{}, fmt.Errorf("registry: register a version of %s: %w", c.Model, err)
	}
	r.changed(before)
	return clone(v), nil
}

// inspect checks everything about a candidate that can be checked without storing it.
func (r *Registry) inspect(c Candidate) (stoa.Version, []byte, error) {
	if err := checkName("a model", c.Model); err != nil {
		return stoa.Version{}, nil, err
	}
	if c.By == "" || c.Artifact == nil {
		return stoa.Version{}, nil, invalid("a candidate needs an artifact and who registers it")
	}
	for name, value := range c.Metrics {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return stoa.Version{}, nil, invalid(fmt.Sprintf("the metric %.80q is not a finite number", name))
		}
	}
	artifact, err := io.ReadAll(io.LimitReader(c.Artifact, r.config.MaxArtifact+1))
	if err != nil {
		return stoa.Version{}, nil, fmt.Errorf("registry: read the artifact: %w", err)
	}
	if int64(len(artifact)) > r.config.MaxArtifact {
		return stoa.Version{}, nil, &stoa.Refusal{
			Reason:  stoa.ReasonTooLarge,
			Message: fmt.Sprintf("the artifact is larger than %d bytes", r.config.MaxArtifact),
		}
	}
	v := stoa.Version{
		Model: c.Model, Format: c.Format, Parent: c.Parent, DataDigest: c.DataDigest, Code: c.Code,
		Parameters: c.Parameters, Metrics: c.Metrics, CreatedBy: c.By,
	}
	if v.Format == "" {
		v.Format = FormatONNX
	}
	v.Inputs, v.Outputs, err = r.config.Inspect(artifact)
	if err != nil {
		return stoa.Version{}, nil, fmt.Errorf("registry: inspect the artifact: %w", err)
	}
	return clone(v), artifact, nil
}

func invalid(message string) error {
	return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: message}
}

// keep writes the blob, and then the row.
func (r *Registry) keep(ctx context.Context, v stoa.Version, artifact []byte) (stoa.Version, error) {
	r.sweeping.RLock()
	defer r.sweeping.RUnlock()
	var err error
	v.Digest, v.Size, err = r.config.Blobs.Put(ctx, bytes.NewReader(artifact))
	if err != nil {
		return stoa.Version{}, err
	}
	var kept stoa.Version
	err = r.config.DB.Write(ctx, func(tx *store.Tx) (err error) {
		kept, err = r.keepRow(ctx, tx, v)
		return err
	})
	return kept, err
}

// keepRow finds the version that has v's artifact, or makes v the next one.
func (r *Registry) keepRow(ctx context.Context, tx *store.Tx, v stoa.Version) (stoa.Version, error) {
	same, err := findDigest(ctx, tx, v.Model, v.Digest)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return same, err
	}
	var newest int
	err = tx.QueryRow(ctx, "SELECT COALESCE(MAX(number), 0) FROM registry_version WHERE model = ?", v.Model).Scan(&newest)
	if err != nil {
		return stoa.Version{}, err
	}
	if v.Parent < 0 || v.Parent > newest {
		return stoa.Version{}, &stoa.Refusal{
			Reason:  stoa.ReasonUnknownVersion,
			Message: fmt.Sprintf("the parent, version %d of %q, does not exist", v.Parent, v.Model),
			Hint:    fmt.Sprintf("the newest version is %d; 0 means no parent", newest),
		}
	}
	v.Number = newest + 1
	v.CreatedAt = r.config.Now()
	if err := insertVersion(ctx, tx, v); err != nil {
		return stoa.Version{}, err
	}
	// Read back, so that memory holds what the database does to the last nil map.
	v, err = findDigest(ctx, tx, v.Model, v.Digest)
	if err != nil {
		return stoa.Version{}, err
	}
	err = r.config.Ledger.Note(ctx, tx, ledger.Act{
		Actor: v.CreatedBy, What: "version.register", Subject: v.Model, Data: v,
	})
	if err != nil {
		return stoa.Version{}, err
	}
	tx.OnCommit(func() { r.current.Store(r.current.Load().withVersion(v)) })
	return v, nil
}

// findDigest reads the version of a model that has an artifact; [sql.ErrNoRows] when there is none.
func findDigest(ctx context.Context, tx *store.Tx, model, digest string) (stoa.Version, error) {
	return scanVersion(tx.QueryRow(ctx,
		"SELECT "+versionColumns+" FROM registry_version WHERE model = ? AND digest = ?", model, digest).Scan)
}
