package clickhouse

import (
	"fmt"
	"os"
	"syscall"
)

// lock takes the lock file or fails at once. The kernel frees it when this process dies.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process holds %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
