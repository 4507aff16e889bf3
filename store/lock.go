package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is the file in a data directory that its owner holds a lock on. It holds the process id of the owner.
const lockName = "lock"

// LockDir makes dir (mode 0700) when it does not exist and owns it until the Closer is closed or the process ends. The
// error wraps [ErrLocked] and says the process id of the owner when another has it.
func LockDir(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, FromOS(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, FromOS(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = file.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock: %w", err)
		}
		return nil, fmt.Errorf("%w (%s)", ErrLocked, owner(file))
	}
	if err := writeOwner(file); err != nil {
		return nil, errors.Join(FromOS(err), file.Close())
	}
	return file, nil
}

// owner says who holds the lock, as far as the file tells.
func owner(file *os.File) string {
	var pid int
	if _, err := fmt.Fscanf(file, "%d\n", &pid); err != nil {
		return "it has not written its process id yet"
	}
	return fmt.Sprintf("its process id is %d", pid)
}

// writeOwner puts the id of this process into the lock file.
func writeOwner(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}
