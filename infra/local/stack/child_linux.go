package stack

import "syscall"

// ChildAttributes let a server end with this process, and keep a Ctrl-C in the
// terminal from reaching it: it is stopped in its turn.
func ChildAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
