package clickhouse

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
)

// The engine goes on when the kernel refuses a write: it acknowledges an INSERT, and commits a merge, whose files are empty (chDB 26.5 and 26.9, on a
// full disk). It counts such writes, though. That count is read before a statement that writes is answered, and every second for the sake of merges. Once it is not zero, nothing that this engine says is worth believing, and the process begins again: when it loads its
// tables, the engine puts parts aside that are not whole, and takes those that a merge was made from, which it keeps for eight minutes.

// minFree is how much room the engine needs to start, in bytes.
const minFree = 16 << 20

// writes counts those that the kernel refused since the engine started.
type writes struct {
	mu   sync.Mutex
	conn *chdb.Conn
}

func (w *writes) refused() (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	count, _, err := w.conn.Query("SELECT value FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'", "TSV", nil)
	if err != nil {
		return 0, fmt.Errorf("count the writes that were refused: %w", err)
	}
	if len(count) == 0 { // none yet
		return 0, nil
	}
	return strconv.ParseInt(strings.TrimSpace(string(count)), 10, 64)
}

// settled returns nil if all that the engine has written is with the kernel. If a write was refused it does not return: the process begins again.
func (s *server) settled() error {
	refused, err := s.writes.refused()
	if err != nil || refused == 0 {
		return err
	}
	s.again.Do(func() {
		s.cfg.Log.Error("clickhouse: the disk refused a write, starting again with what is whole", "data", s.cfg.DataDir)
		err = beginAgain()
	})
	return fmt.Errorf("the disk refused a write, and the engine cannot be started again: %w", err)
}

// watch looks at the merges until ctx ends.
func (s *server) watch(ctx context.Context) {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
			if err := s.settled(); err != nil {
				s.cfg.Log.Warn("clickhouse: look for writes that were refused", "error", err)
			}
		}
	}
}

// beginAgain puts this program, with its arguments and environment, in the place of this process: its parent sees one process all the time, and its
// clients a connection that was reset.
func beginAgain() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(program, os.Args, os.Environ())
}

// awaitRoom waits until there is room to start, for the engine does not start on a full disk.
func awaitRoom(ctx context.Context, cfg Config) error {
	for said := false; ; {
		var disk unix.Statfs_t
		if err := unix.Statfs(cfg.DataDir, &disk); err != nil {
			return fmt.Errorf("ask how much room there is in %s: %w", cfg.DataDir, err)
		}
		free := disk.Bavail * uint64(disk.Bsize)
		if free >= minFree {
			return nil
		}
		if !said {
			cfg.Log.Warn("clickhouse: the disk is full, waiting for room", "data", cfg.DataDir, "free", free, "needed", minFree)
			said = true
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
