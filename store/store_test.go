package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

func FuzzDigestHex(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("0a", 32))
	f.Add("sha256:../../etc/passwd")
	f.Fuzz(func(t *testing.T, digest string) {
		digits, err := store.DigestHex(digest)
		if err != nil {
			return
		}
		if "sha256:"+digits != digest || len(digits) != 64 || !filepath.IsLocal(digits) || filepath.Base(digits) != digits {
			t.Errorf("%q gives the file name %q", digest, digits)
		}
	})
}

func TestReasonOfOperatingSystemErrors(t *testing.T) {
	for errno, want := range map[syscall.Errno]stoa.Reason{
		syscall.ENOSPC: stoa.ReasonStorageFull, syscall.EDQUOT: stoa.ReasonStorageFull,
		syscall.EROFS: stoa.ReasonStorageReadOnly, syscall.EACCES: stoa.ReasonStorageReadOnly,
		syscall.EIO: "",
	} {
		err := store.FromOS(fmt.Errorf("write: %w", errno))
		if reason, ours := store.Reason(err); reason != want || ours != (want != "") || !errors.Is(err, errno) {
			t.Errorf("%v gives %q, %v", errno, reason, err)
		}
	}
	for err, want := range map[error]stoa.Reason{
		store.ErrLocked: stoa.ReasonStorageLocked, store.ErrNotFound: stoa.ReasonNotFound,
		store.ErrCorrupt: stoa.ReasonInternal,
	} {
		if reason, ours := store.Reason(fmt.Errorf("x: %w", err)); reason != want || !ours {
			t.Errorf("%v gives %q", err, reason)
		}
	}
}
