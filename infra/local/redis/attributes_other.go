//go:build !linux

package redis

import "syscall"

// attributes are the default ones: only linux can tie a child's life to its parent's.
func attributes() *syscall.SysProcAttr { return nil }
