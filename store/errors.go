package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/stoaproject/stoa"
)

// What can be wrong with a store. Drivers wrap these, so that errors.Is finds them.
var (
	ErrNotFound    = errors.New("not found")
	ErrFull        = errors.New("the disk is full: free some space, then try again; reading goes on")
	ErrReadOnly    = errors.New("the data cannot be written: check its owner, its mode and how it is mounted")
	ErrLocked      = errors.New("another process owns the data: stop it or choose other data")
	ErrCorrupt     = errors.New("the stored data is damaged: restore it from a backup")
	ErrUnavailable = errors.New("the database cannot be reached now: see that it runs, then try again")
	ErrText        = errors.New("a text is not UTF-8, or has the character NUL in it: neither can be stored")
)

// known are the errors above.
func known() []error {
	return []error{ErrNotFound, ErrFull, ErrReadOnly, ErrLocked, ErrCorrupt, ErrUnavailable, ErrText}
}

// errReadTx is what a write inside [DB.Read] gets; it is a fault of the program, not of the disk.
var errReadTx = errors.New("store: this transaction is for reading; use Write")

// Reason gives the reason to tell a client when err is one of this package's, and false when it is not.
func Reason(err error) (stoa.Reason, bool) {
	switch {
	case errors.Is(err, ErrFull):
		return stoa.ReasonStorageFull, true
	case errors.Is(err, ErrReadOnly):
		return stoa.ReasonStorageReadOnly, true
	case errors.Is(err, ErrLocked):
		return stoa.ReasonStorageLocked, true
	case errors.Is(err, ErrUnavailable):
		return stoa.ReasonStorageUnavailable, true
	case errors.Is(err, ErrNotFound):
		return stoa.ReasonNotFound, true
	case errors.Is(err, ErrText):
		return stoa.ReasonInvalid, true
	case errors.Is(err, ErrCorrupt):
		return stoa.ReasonInternal, true
	}
	return "", false
}

// checkText finds the text among args that not every engine can keep.
func checkText(args []any) error {
	for _, arg := range args {
		if text, ok := arg.(string); ok && (!utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0) {
			return fmt.Errorf("%w (%.80q)", ErrText, text)
		}
	}
	return nil
}

// FromOS wraps an error of a file operation with the error of this package that it means, for the drivers.
func FromOS(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return err
}
