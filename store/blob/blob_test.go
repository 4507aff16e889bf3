package blob_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/blob"
	"github.com/stoaproject/stoa/store/storetest"
)

func openDir(t *testing.T, path string) store.Blobs {
	t.Helper()
	blobs, err := blob.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	return blobs
}

func TestDirPassesTheSuite(t *testing.T) {
	storetest.Blobs(t, func(t *testing.T) store.Blobs { return openDir(t, filepath.Join(t.TempDir(), "a", "b")) })
}

func TestMemoryPassesTheSuite(t *testing.T) {
	storetest.Blobs(t, func(*testing.T) store.Blobs { return blob.Memory() })
}

// read reads a blob to its end.
func read(t *testing.T, blobs store.Blobs, digest string) (string, error) {
	t.Helper()
	reader, err := blobs.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	content, err := io.ReadAll(reader)
	return string(content), err
}

func TestDamagedBlobIsNoticedAndMended(t *testing.T) {
	const content = "the bytes of a model"
	for name, damaged := range map[string]string{
		"truncated": content[:5], "edited": strings.Replace(content, "m", "n", 1), "longer": content + ".", "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			blobs := openDir(t, dir)
			digest, _, err := blobs.Put(t.Context(), strings.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "sha256", strings.TrimPrefix(digest, "sha256:"))
			if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte(damaged), 0o600)); err != nil {
				t.Fatal(err)
			}
			if _, err := read(t, blobs, digest); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("reading it gives %v", err)
			}
			if _, _, err := blobs.Put(t.Context(), strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			if got, err := read(t, blobs, digest); got != content || err != nil {
				t.Errorf("after putting it again: %q, %v", got, err)
			}
		})
	}
}

func TestLeftoversAreSweptAtOpening(t *testing.T) {
	dir := t.TempDir()
	openDir(t, dir)
	leftover := filepath.Join(dir, "tmp", "put-123")
	if err := os.WriteFile(leftover, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(dir, "sha256", "README")
	if err := os.WriteFile(stray, []byte("not a blob"), 0o600); err != nil {
		t.Fatal(err)
	}
	blobs := openDir(t, dir)
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if err := blobs.List(t.Context(), func(digest string, _ int64) error {
		return fmt.Errorf("%s is listed", digest)
	}); err != nil {
		t.Error(err)
	}
}

// mountTmpfs gives a file system of so many bytes, or skips the test.
func mountTmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("needs the right to mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := mountTmpfs(t, 256<<10)
	blobs := openDir(t, dir)
	small, _, err := blobs.Put(t.Context(), strings.NewReader("small"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = blobs.Put(t.Context(), strings.NewReader(strings.Repeat("x", 1<<20)))
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("error %v", err)
	}
	if content, err := read(t, blobs, small); content != "small" || err != nil {
		t.Errorf("reading on gives %q, %v", content, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); len(left) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, _, err := blobs.Put(t.Context(), strings.NewReader(strings.Repeat("y", 100<<10))); err != nil {
		t.Errorf("what fits: %v", err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := mountTmpfs(t, 256<<10)
	blobs := openDir(t, dir)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("needs the right to mount read-only: %v", err)
	}
	if _, _, err := blobs.Put(t.Context(), strings.NewReader("x")); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("put: %v", err)
	}
	if _, err := blob.Dir(filepath.Join(dir, "new")); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("open: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	blobs, err := blob.Dir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	content := strings.Repeat("0123456789abcdef", 1<<16)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, _, err := blobs.Put(b.Context(), strings.NewReader(content)); err != nil {
			b.Fatal(err)
		}
	}
}
