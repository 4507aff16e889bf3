//go:build unix && !linux

package retrain

import "syscall"

// dieWithParent does nothing: only Linux can. An orphan works on in a directory that nobody reads.
func dieWithParent(*syscall.SysProcAttr) {}
