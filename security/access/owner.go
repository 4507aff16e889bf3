package access

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// OwnerFile is the name of the file in the data directory that holds the owner's key.
const OwnerFile = "owner.key"

// ownerName is the name of the key in the owner's file.
const ownerName = "owner"

var secretForm = regexp.MustCompile(`^` + prefix + `[A-Za-z0-9_-]{43}$`)

// settleOwner sees to it that there is an owner:
//
//  1. The file is there and its key is known: nothing to do. A revoked key stays revoked.
//  2. The file is there and its key is not known: it is adopted, and takes the place of the key called "owner".
//  3. The file is not there and an owner is known: somebody keeps the key elsewhere. Nothing to do.
//  4. The file is not there, or is the beginning of one that a crash left, and no owner is known: a key is made.
func (a *Access) settleOwner(ctx context.Context, dir string) error {
	path := filepath.Join(dir, OwnerFile)
	var owners int
	err := a.db.Read(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(ctx, "SELECT COUNT(*) FROM access_key WHERE owner = 1 AND revoked_at = 0").Scan(&owners)
	})
	if err != nil {
		return err
	}
	secret, err := a.readOwner(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && owners > 0: // 3
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errCut) && owners == 0: // 4
		if errors.Is(err, errCut) {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove the beginning of %s that a crash left: %w", path, err)
			}
		}
		if secret, err = writeOwner(path); err != nil {
			return fmt.Errorf("write the owner's key: %w", err)
		}
		a.logger.InfoContext(ctx, "made the owner's key", "file", path)
	case err != nil:
		return err
	}
	return a.adopt(ctx, secret) // 1, 2 and the rest of 4
}

// adopt makes secret the key called "owner", unless it is known.
func (a *Access) adopt(ctx context.Context, secret Secret) error {
	hash := secret.digest()
	by := stoa.Caller{Name: OwnerFile}
	return a.db.Write(ctx, func(tx *store.Tx) error {
		key, found, err := find(ctx, tx, "hash = ?", hex.EncodeToString(hash[:]))
		if err != nil {
			return err
		}
		if found {
			if !key.RevokedAt.IsZero() {
				a.logger.WarnContext(ctx, "the key in the owner's file is revoked; put another in its place",
					"file", OwnerFile, "key", key.ID)
			}
			return nil
		}
		old, found, err := find(ctx, tx, "name = ? AND revoked_at = 0", ownerName)
		if err != nil {
			return err
		}
		if found {
			a.logger.WarnContext(ctx, "the owner's file holds a new key, which takes the place of the old", "old", old.ID)
			if err := a.revoke(ctx, tx, old, by, "replaced by the key in "+OwnerFile); err != nil {
				return err
			}
		}
		return a.insert(ctx, tx, stoa.Caller{ID: newID(), Name: ownerName, Owner: true}, hash, by, "found in "+OwnerFile)
	})
}

// errCut is a file that ends before its key does.
var errCut = errors.New("it ends before its key does")

// readOwner reads the owner's file, and takes away the rights of others to read it.
func (a *Access) readOwner(ctx context.Context, path string) (Secret, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file: put the key itself there", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return "", errors.Join(fmt.Errorf("%s changed while it was opened", path), err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		a.logger.WarnContext(ctx, "others could read the owner's key; took that right away, consider a new key",
			"file", path, "mode", info.Mode().Perm().String())
		if err := f.Chmod(0o600); err != nil {
			return "", fmt.Errorf("%s is readable by others (mode %s): make it 0600: %w", path, info.Mode().Perm(), err)
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if len(secret) < secretLength && (strings.HasPrefix(secret, prefix) || strings.HasPrefix(prefix, secret)) {
		return "", fmt.Errorf("%s does not hold a key: %w; put the key back, or remove the file to keep the key elsewhere",
			path, errCut)
	}
	if !secretForm.MatchString(secret) {
		return "", fmt.Errorf("%s does not hold a key, which is %q and 43 letters, digits, '-' or '_'", path, prefix)
	}
	return Secret(secret), nil
}

// writeOwner makes a key and writes it to a file that did not exist, durably.
func writeOwner(path string) (secret Secret, err error) {
	secret = newSecret()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(string(secret) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return secret, errors.Join(dir.Sync(), dir.Close())
}
