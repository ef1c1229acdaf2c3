package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

type downCommand struct{}

// downLimit is longer than the 30 s that each function and server has to stop.
const downLimit = 90 * time.Second

// Run stops the stack and returns when it is gone.
func (d *downCommand) Run(ctx context.Context, p *place) error {
	pid := p.home.Running()
	if pid == 0 && p.home.Died() {
		fmt.Printf("the stack in %s has died already; all data is kept, and the next `pulse up` goes on from it\n", p.home)
		return nil
	}
	if pid == 0 {
		fmt.Printf("no stack is up in %s\n", p.home)
		return nil
	}
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(syscall.SIGTERM)
	}
	if err != nil {
		return fmt.Errorf("stop the stack (pid %d): %w", pid, err)
	}
	deadline := time.After(downLimit)
	for p.home.Running() != 0 {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			return fmt.Errorf("the stack (pid %d) did not stop in %s", pid, downLimit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	fmt.Printf("stopped; all data is kept in %s\n", p.home)
	return nil
}
