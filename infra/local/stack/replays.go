package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// EnterReplay notes that this process is replaying into the stack of this home,
// until leave is called.
func (h Home) EnterReplay() (leave func(), err error) {
	dir := h.path("replays")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("note the replay: %w", err)
	}
	file := h.path("replays", strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return nil, fmt.Errorf("note the replay: %w", err)
	}
	// A note of a process that no longer runs is not counted.
	return func() { _ = os.Remove(file) }, nil
}

// Replays counts the other processes that are replaying into this stack.
func (h Home) Replays() (int, error) {
	notes, err := os.ReadDir(h.path("replays"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for replays: %w", err)
	}
	running := 0
	for _, n := range notes {
		pid, err := strconv.Atoi(n.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := syscall.Kill(pid, 0); err == nil || errors.Is(err, syscall.EPERM) {
			running++
		}
	}
	return running, nil
}
