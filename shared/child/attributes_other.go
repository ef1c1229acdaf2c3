//go:build !linux

package child

import "syscall"

// attributes are without the signal: only Linux can tie a child to its parent.
func attributes(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
