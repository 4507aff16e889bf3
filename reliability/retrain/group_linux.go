package retrain

import "syscall"

// dieWithParent has the kernel kill the command when we are killed, so that no orphan trains on.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
