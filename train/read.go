package train

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ReadFile reads the wanted columns of a .csv, .csv.gz or .parquet file. Rows keep the order of the file. The error
// is a [*DataError] when the content is at fault.
func ReadFile(ctx context.Context, path string, want Columns) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the training data: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, &DataError{File: path, Message: "not a regular file", Err: err}
	}
	lower := strings.ToLower(path)
	var t *Table
	var digest string
	switch {
	case strings.HasSuffix(lower, ".csv"), strings.HasSuffix(lower, ".csv.gz"):
		t, digest, err = readText(ctx, f, path, want, strings.HasSuffix(lower, ".gz"))
	case strings.HasSuffix(lower, ".parquet"):
		if t, err = readParquet(ctx, f, info.Size(), path, want); err == nil {
			digest, err = digestFile(f)
		}
	default:
		return nil, &DataError{File: path, Message: "unknown kind of file",
			Hint: "give a .csv, .csv.gz or .parquet file"}
	}
	if err != nil {
		return nil, err
	}
	t.Digest = digest
	return t, nil
}

// readText reads a CSV file, compressed or not, and the digest of its bytes as they are on the disk.
func readText(ctx context.Context, f io.Reader, path string, want Columns, zipped bool) (*Table, string, error) {
	sum := sha256.New()
	raw := io.TeeReader(f, sum)
	text := raw
	if zipped {
		z, err := gzip.NewReader(raw)
		if errors.Is(err, io.EOF) {
			return nil, "", &DataError{File: path, Message: "the file is empty"}
		}
		if err != nil {
			return nil, "", &DataError{File: path, Message: "not a gzip file", Err: err}
		}
		defer z.Close()
		text = z
	}
	t, err := readCSV(ctx, text, path, want)
	if err != nil {
		return nil, "", err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil { // what follows the last row belongs to the digest
		return nil, "", &DataError{File: path, Message: "cannot read", Err: err}
	}
	return t, "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// digestFile returns the digest of a file from its beginning.
func digestFile(f io.ReadSeeker) (string, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("digest the training data: %w", err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("digest the training data: %w", err)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}
