//go:build !linux

package knative

import "syscall"

// childAttributes puts a child into a process group of its own, so that an
// interrupt at the terminal reaches the runner only. Outside Linux a child
// outlives a runner that is killed with SIGKILL.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// Resident is known on Linux only.
func Resident(int) int64 { return 0 }
