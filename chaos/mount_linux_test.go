package chaos

import (
	"fmt"
	"syscall"
)

func mount(path string, mib int) error {
	return syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%dm", mib))
}

func unmount(path string) error { return syscall.Unmount(path, syscall.MNT_DETACH) }
