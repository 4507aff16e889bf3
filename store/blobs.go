package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Blobs keeps immutable bytes by their digest. It is safe for concurrent use.
type Blobs interface {
	// Put reads r to its end, keeps the bytes durably, and returns their digest and their number. Putting the same
	// bytes again keeps one copy. When r or the disk fails, nothing is kept.
	Put(ctx context.Context, r io.Reader) (digest string, size int64, err error)

	// Open gives the bytes. The reader compares them with the digest as they pass, and its Read returns an error that
	// wraps [ErrCorrupt] where [io.EOF] would be when they differ: only who reads to the end knows. An unknown digest
	// gives [ErrNotFound].
	Open(ctx context.Context, digest string) (io.ReadCloser, error)

	// Stat gives the number of bytes, or [ErrNotFound]. It does not read them.
	Stat(ctx context.Context, digest string) (size int64, err error)

	// List calls fn for every blob in the order of the digests until fn returns an error, which List returns.
	List(ctx context.Context, fn func(digest string, size int64) error) error

	// Delete removes a blob, or gives [ErrNotFound].
	Delete(ctx context.Context, digest string) error
}

const digestPrefix = "sha256:"

// Digest gives the digest that h, a SHA-256, has come to.
func Digest(h hash.Hash) string { return digestPrefix + hex.EncodeToString(h.Sum(nil)) }

// DigestHex checks that digest is "sha256:" and 64 lower-case hexadecimal digits, and returns the digits: what it
// returns is safe in a file name.
func DigestHex(digest string) (string, error) {
	digits, found := strings.CutPrefix(digest, digestPrefix)
	if !found || len(digits) != 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", fmt.Errorf("store: %.80q is not a digest: want %q and 64 lower-case hexadecimal digits",
			digest, digestPrefix)
	}
	return digits, nil
}
