package clickhouse

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitFiles has the kernel refuse every write of this process beyond a size of a
// file, as it refuses it on a full disk. 0 lifts the limit.
func limitFiles(t *testing.T, pid int, size uint64) {
	t.Helper()
	if size == 0 {
		size = unix.RLIM_INFINITY
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
}

// asked waits until a statement has an answer: the engine may be starting again.
func (e engine) asked(t *testing.T, statement string) string {
	t.Helper()
	conn := e.connect(t, "", "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		var text string
		err := conn.QueryRow(ctx, statement).Scan(&text)
		if err == nil {
			return text
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", statement, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// large are about as many bytes as it says, which cannot be compressed.
const large = "SELECT number, toString(randomString(100)) FROM numbers(%d)"

func TestInsertWhoseWriteTheDiskRefusesIsNotAcknowledged(t *testing.T) {
	e := start(t, t.TempDir())
	conn := e.connect(t, "", "")
	exec1(t, conn, "CREATE DATABASE d")
	exec1(t, conn, "CREATE TABLE d.t (id UInt64, s String) ENGINE = MergeTree ORDER BY id")
	exec1(t, conn, "INSERT INTO d.t "+fmt.Sprintf(large, 10))

	limitFiles(t, e.cmd.Process.Pid, 100_000)
	if err := conn.Exec(t.Context(), "INSERT INTO d.t "+fmt.Sprintf(large, 5_000)); err == nil {
		t.Error("an INSERT of 500 KB was acknowledged though the disk took only 100 KB")
	}
	limitFiles(t, e.cmd.Process.Pid, 0)
	if got := e.asked(t, "SELECT toString(count()) || ' rows, ' || toString(sum(length(s))) FROM d.t"); got != "10 rows, 1000" {
		t.Errorf("%s, want the 10 rows of the INSERT before", got)
	}
	if err := conn.Exec(t.Context(), "INSERT INTO d.t "+fmt.Sprintf(large, 5_000)); err != nil {
		t.Errorf("an INSERT once there is room: %v", err)
	}
	if got := e.asked(t, "SELECT toString(count()) || ' rows, ' || toString(sum(length(s))) FROM d.t"); got != "5010 rows, 501000" {
		t.Errorf("%s, want 5010", got)
	}
}

func TestMergeWhoseWriteTheDiskRefusesLosesNoRow(t *testing.T) {
	e := start(t, t.TempDir())
	conn := e.connect(t, "", "")
	exec1(t, conn, "CREATE DATABASE d")
	exec1(t, conn, "CREATE TABLE d.t (id UInt64, s String) ENGINE = MergeTree ORDER BY id")
	for range 4 {
		exec1(t, conn, "INSERT INTO d.t "+fmt.Sprintf(large, 500))
	}
	limitFiles(t, e.cmd.Process.Pid, 100_000)
	_ = conn.Exec(t.Context(), "OPTIMIZE TABLE d.t FINAL") // 200 KB; the engine says that it is done, or is gone
	limitFiles(t, e.cmd.Process.Pid, 0)
	if got := e.asked(t, "SELECT toString(count()) || ' rows, ' || toString(sum(length(s))) FROM d.t"); got != "2000 rows, 200000" {
		t.Errorf("%s, want all 2000", got)
	}
}

func TestEngineWaitsForRoomOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("only root can mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	waiting, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	cfg, err := Config{Library: "x", DataDir: dir}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if err := awaitRoom(waiting, cfg); err == nil {
		t.Error("8 MiB were taken for room enough")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if err := awaitRoom(t.Context(), cfg); err != nil {
		t.Error(err)
	}
}
