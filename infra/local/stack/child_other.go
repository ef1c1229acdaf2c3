//go:build !linux

package stack

import "syscall"

// ChildAttributes keep a Ctrl-C in the terminal from reaching a server: it is
// stopped in its turn.
func ChildAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
