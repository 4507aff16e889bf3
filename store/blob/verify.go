package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/stoaproject/stoa/store"
)

// copyDigest copies r to w and returns the digest and the number of the bytes.
func copyDigest(w io.Writer, r io.Reader) (string, int64, error) {
	h := sha256.New()
	size, err := io.Copy(io.MultiWriter(w, h), r)
	if err != nil {
		return "", 0, err
	}
	return store.Digest(h), size, nil
}

// A verifier passes bytes on and, at their end, compares them with the digest they were asked for by.
type verifier struct {
	source io.ReadCloser
	hash   hash.Hash
	want   string
}

// Read implements [io.Reader].
func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.source.Read(p)
	v.hash.Write(p[:n])
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if got := store.Digest(v.hash); got != v.want {
		return n, fmt.Errorf("blob: %s: %w (the bytes have the digest %s)", v.want, store.ErrCorrupt, got)
	}
	return n, io.EOF
}

// Close implements [io.Closer].
func (v *verifier) Close() error { return v.source.Close() }

// A contextReader stops reading when its context has ended.
type contextReader struct {
	ctx    context.Context
	source io.Reader
}

// Read implements [io.Reader].
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.source.Read(p)
}
