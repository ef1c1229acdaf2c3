package redis

import "syscall"

// attributes has the kernel end the child when this process dies, and keeps the terminal's Ctrl-C from it: who started it stops it, last of all.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
