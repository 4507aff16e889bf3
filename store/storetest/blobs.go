package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stoaproject/stoa/store"
)

// Blobs checks a driver of [store.Blobs]. open gives a new, empty store.
func Blobs(t *testing.T, open func(t *testing.T) store.Blobs) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, store.Blobs){
		"what is put is opened":            putThenOpen,
		"the same bytes are kept once":     putTwice,
		"a reader that fails keeps none":   putFails,
		"a context that ends keeps none":   putCancelled,
		"an unknown digest":                unknownDigest,
		"what is no digest":                noDigest,
		"list is sorted and stops":         list,
		"concurrent puts of the same blob": concurrentPuts,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(t *testing.T, blobs store.Blobs, content string) string {
	t.Helper()
	digest, size, err := blobs.Put(t.Context(), strings.NewReader(content))
	if err != nil || size != int64(len(content)) {
		t.Fatalf("put %d bytes: %d, %v", len(content), size, err)
	}
	return digest
}

func listed(t *testing.T, blobs store.Blobs) []string {
	t.Helper()
	var digests []string
	err := blobs.List(t.Context(), func(digest string, _ int64) error {
		digests = append(digests, digest)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return digests
}

func putThenOpen(t *testing.T, blobs store.Blobs) {
	for _, content := range []string{"", "x", strings.Repeat("0123456789", 100_000)} {
		digest := put(t, blobs, content)
		if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content))); digest != want {
			t.Errorf("digest %s, want %s", digest, want)
		}
		if size, err := blobs.Stat(t.Context(), digest); err != nil || size != int64(len(content)) {
			t.Errorf("stat: %d, %v", size, err)
		}
		reader, err := blobs.Open(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		read, err := io.ReadAll(reader)
		if err != nil || !bytes.Equal(read, []byte(content)) {
			t.Errorf("read %d bytes of %d: %v", len(read), len(content), err)
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}
}

func putTwice(t *testing.T, blobs store.Blobs) {
	first, second := put(t, blobs, "x"), put(t, blobs, "x")
	if digests := listed(t, blobs); first != second || len(digests) != 1 {
		t.Errorf("%s and %s, listed %v", first, second, digests)
	}
}

func putFails(t *testing.T, blobs store.Blobs) {
	failure := errors.New("no")
	source := io.MultiReader(strings.NewReader("some"), iotest.ErrReader(failure))
	if _, _, err := blobs.Put(t.Context(), source); !errors.Is(err, failure) {
		t.Errorf("error %v", err)
	}
	if digests := listed(t, blobs); len(digests) != 0 {
		t.Errorf("listed %v", digests)
	}
}

func putCancelled(t *testing.T, blobs store.Blobs) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := blobs.Put(ctx, strings.NewReader("some")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if digests := listed(t, blobs); len(digests) != 0 {
		t.Errorf("listed %v", digests)
	}
}

func unknownDigest(t *testing.T, blobs store.Blobs) {
	digest := put(t, blobs, "x")
	if err := blobs.Delete(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	_, openErr := blobs.Open(t.Context(), digest)
	_, statErr := blobs.Stat(t.Context(), digest)
	for _, err := range []error{openErr, statErr, blobs.Delete(t.Context(), digest)} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("error %v", err)
		}
	}
}

func noDigest(t *testing.T, blobs store.Blobs) {
	put(t, blobs, "x")
	digits := strings.Repeat("ab", 32)
	for _, digest := range []string{
		"", digits, "sha256:", "sha256:" + digits[1:], "sha256:" + digits + "0", "sha256:" + strings.ToUpper(digits),
		"sha512:" + digits, "sha256:../../../../etc/passwd", "sha256:" + strings.Repeat("../", 21) + "x",
		"sha256:" + digits[:63] + "/", "sha256:" + digits[:63] + "\x00",
	} {
		_, openErr := blobs.Open(t.Context(), digest)
		_, statErr := blobs.Stat(t.Context(), digest)
		for _, err := range []error{openErr, statErr, blobs.Delete(t.Context(), digest)} {
			if err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%q: error %v", digest, err)
			}
		}
	}
}

func list(t *testing.T, blobs store.Blobs) {
	var want []string
	for i := range 20 {
		want = append(want, put(t, blobs, fmt.Sprint(i)))
	}
	slices.Sort(want)
	if digests := listed(t, blobs); !slices.Equal(digests, want) {
		t.Errorf("listed %v, want %v", digests, want)
	}
	enough := errors.New("enough")
	seen := 0
	err := blobs.List(t.Context(), func(string, int64) error {
		seen++
		return enough
	})
	if !errors.Is(err, enough) || seen != 1 {
		t.Errorf("error %v after %d blobs", err, seen)
	}
}

func concurrentPuts(t *testing.T, blobs store.Blobs) {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, _, err := blobs.Put(t.Context(), strings.NewReader("the same")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if digests := listed(t, blobs); len(digests) != 1 {
		t.Errorf("listed %v", digests)
	}
}
