package child_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/child"
)

func TestAChildIsInAGroupOfItsOwnAndDiesWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentMode+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 32)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("it is in process group %d, %v: an interrupt at the terminal would reach it", group, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // "signal: killed"
	awaitEnd(t, pid)
}

func TestAGroupIsStoppedWithWhatTheChildStarted(t *testing.T) {
	file := t.TempDir() + "/pid"
	p := start(t, "sleep 60 & echo $! >"+file+".new; mv "+file+".new "+file+"; wait")
	if err := p.Await(t.Context(), time.Millisecond, exists(file)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.StopGroup(10 * time.Second); err != nil {
		t.Error(err)
	}
	awaitEnd(t, pid)
	if err := p.StopGroup(time.Second); err != nil {
		t.Errorf("stop one that has ended: %v", err)
	}
}

// awaitEnd waits until a process that is not ours has ended.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); running(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("pid %d lives on", pid)
		}
	}
}

// running says whether a process is there and has not ended.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestTheMemoryOfAProcessThatEndedIsNothing(t *testing.T) {
	if child.Resident(os.Getpid()) == 0 {
		t.Error("this process holds no memory")
	}
	p := start(t, "exit 0")
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	if n := child.Resident(p.PID()); n != 0 {
		t.Errorf("an ended process holds %d bytes", n)
	}
}
