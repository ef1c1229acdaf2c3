package clickhouse

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// spool puts the data of an INSERT into memory that the engine can open as a file. All of it is there before the INSERT begins, so an upload that breaks
// off inserts nothing.
func spool(data io.Reader) (*os.File, error) {
	fd, err := unix.MemfdCreate("insert", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, refuse(codeCannotWrite, "make memory for the data: %v", err)
	}
	file := os.NewFile(uintptr(fd), "insert")
	if _, err := io.Copy(file, data); err != nil {
		file.Close()
		var full *os.PathError
		if errors.As(err, &full) {
			return nil, refuse(codeMemoryLimit, "keep the data: %v", err)
		}
		return nil, asReadError(err)
	}
	return file, nil
}

// pathOf names a spooled file to the engine, which is this process.
func pathOf(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }

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
