package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWhatIsBuiltIsKeptUntilItsKeyChanges(t *testing.T) {
	c := &cluster{cache: t.TempDir()}
	builds := 0
	build := func(dir string) error {
		builds++
		return os.WriteFile(filepath.Join(dir, "program"), nil, 0o755)
	}
	first, err := c.keep("kind", []string{"v1"}, build)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.keep("kind", []string{"v1"}, build); err != nil || again != first || builds != 1 {
		t.Errorf("%s after %s, %d builds, %v", again, first, builds, err)
	}
	if _, err := c.keep("kind", []string{"v2"}, func(string) error { return errors.New("no compiler") }); err == nil {
		t.Error("a build that fails is kept")
	}
	second, err := c.keep("kind", []string{"v2"}, build)
	if err != nil || builds != 2 {
		t.Errorf("%d builds, %v: what failed is not built again", builds, err)
	}
	if left, err := filepath.Glob(c.cache + "/*"); err != nil || len(left) != 1 || left[0] != second {
		t.Errorf("%v are left, want %s alone: %v", left, second, err)
	}
}

func TestAProcessOfAnotherStartIsNotOurs(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("SKIPPED: processes are known by /proc")
	}
	c := &cluster{run: t.TempDir()}
	if err := os.Mkdir(filepath.Join(c.run, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.daemon("sleeper", exec.Command("sleep", "60")); err != nil {
		t.Fatal(err)
	}
	pid, err := c.process("sleeper")
	if err != nil {
		t.Fatal(err)
	}
	// The same number, but of a process that began at another time.
	file := filepath.Join(c.run, "sleeper.pid")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, '1'), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.stop(t.Context(), "sleeper", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Error("a process was stopped that is not ours")
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.stop(t.Context(), "sleeper", syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := c.process("sleeper"); !errors.Is(err, errNotRunning) {
		t.Errorf("it runs still: %v", err)
	}
}
