package registry

import (
	"bytes"
	"context"
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
// already, Register returns the oldest such version, as it is, and records nothing.
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
		Parameters: c.Parameters, Metrics: c.Metrics, CreatedBy: c.By, Servable: true,
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
	var kept version
	err = r.config.DB.Write(ctx, func(tx *store.Tx) error {
		// The snapshot is what is committed: it is replaced before the next transaction begins.
		m := r.current.Load().models[v.Model]
		if m != nil {
			if same, found := m.find(v.Digest); found {
				kept = same
				return nil
			}
		}
		var err error
		kept, err = r.keepRow(ctx, tx, m, version{Version: v, stage: stageNone})
		return err
	})
	return kept.Version, err
}

// keepRow makes v the next version of m, or the first of a new model when m is nil.
func (r *Registry) keepRow(ctx context.Context, tx *store.Tx, m *model, v version) (version, error) {
	at := r.now()
	if m == nil {
		m = &model{about: about{tags: map[string]string{}, createdAt: at}, aliases: map[string]int{}}
	}
	newest := len(m.versions)
	if _, there := m.at(v.Parent); v.Parent != 0 && !there {
		return version{}, &stoa.Refusal{
			Reason:  stoa.ReasonUnknownVersion,
			Message: fmt.Sprintf("the parent, version %d of %q, does not exist", v.Parent, v.Model),
			Hint:    fmt.Sprintf("the newest version is %d; 0 means no parent", newest),
		}
	}
	v.Number, v.CreatedAt, v.updatedAt = newest+1, at, at
	said := m.about
	said.updatedAt = at
	if err := writeAbout(ctx, tx, v.Model, said); err != nil {
		return version{}, err
	}
	if err := insertVersion(ctx, tx, v); err != nil {
		return version{}, err
	}
	// Read back, so that memory holds what the database does to the last nil map.
	v, err := scanVersion(tx.QueryRow(ctx,
		"SELECT "+versionColumns+" FROM registry_version WHERE model = ? AND number = ?", v.Model, v.Number).Scan)
	if err != nil {
		return version{}, err
	}
	err = r.config.Ledger.Note(ctx, tx, ledger.Act{
		Actor: v.CreatedBy, What: "version.register", Subject: v.Model, Data: v.Version,
	})
	if err != nil {
		return version{}, err
	}
	r.publish(tx, v.Model, m.withAbout(said).withVersion(v))
	return v, nil
}

// publish makes m the model with a name once the transaction is committed; nil takes the model out.
func (r *Registry) publish(tx *store.Tx, name string, m *model) {
	tx.OnCommit(func() { r.current.Store(r.current.Load().with(name, m)) })
}
