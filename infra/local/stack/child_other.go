//go:build !linux

package stack

import "syscall"

// childAttributes keep a Ctrl-C in the terminal from reaching a server: it is
// stopped in its turn.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
