package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/stack"
)

// detach starts the stack in a session of its own, prints its output, and returns
// once it is ready.
func (u *upCommand) detach(ctx context.Context, p *place) error {
	if pid := p.home.Running(); pid != 0 {
		return fmt.Errorf("%w: %s (pid %d)", stack.ErrRunning, p.home, pid)
	}
	if err := errors.Join(checkStart(ctx, p), p.home.CheckKind(stack.KindOf(p.env))); err != nil {
		return err
	}
	if err := os.MkdirAll(p.home.LogDir(), 0o755); err != nil {
		return fmt.Errorf("make the home: %w", err)
	}
	logPath := filepath.Join(p.home.LogDir(), "up.log")
	ready := filepath.Join(string(p.home), "ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("start the stack: %w", err)
	}
	log, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("start the stack: %w", err)
	}
	defer log.Close()
	self, err := stack.Self()
	if err != nil {
		return err
	}
	args := []string{"up", "--idle-after", u.IdleAfter.String(), "--status", ready, fmt.Sprintf("--drop-bells=%g", u.DropBells), fmt.Sprintf("--bell-rate=%g", u.BellRate)}
	if u.Empty {
		args = append(args, "--empty")
	}
	if u.Demo {
		args = append(args, "--demo")
	}
	if u.Trace {
		args = append(args, "--trace")
	}
	if u.Superset {
		args = append(args, "--superset")
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "PULSE_HOME="+string(p.home))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the stack: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	return follow(ctx, logPath, ready, exited)
}

// follow prints a growing log until the stack is ready or has ended.
func follow(ctx context.Context, logPath, ready string, exited chan error) error {
	f, err := os.Open(logPath)
	if err != nil {
		return fmt.Errorf("follow the start: %w", err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	drain := func() error {
		_, err := io.Copy(os.Stdout, lines)
		return err
	}
	for {
		select {
		case err := <-exited:
			if e := drain(); e != nil {
				return e
			}
			if err == nil {
				err = errors.New("it stopped")
			}
			return fmt.Errorf("the stack did not come up: %w; its log is %s", err, logPath)
		case <-ctx.Done():
			return fmt.Errorf("given up; the stack goes on coming up, see %s", logPath)
		case <-time.After(100 * time.Millisecond):
		}
		if err := drain(); err != nil {
			return err
		}
		if b, err := os.ReadFile(ready); err == nil && strings.TrimSpace(string(b)) == "ready" {
			return drain()
		}
	}
}
