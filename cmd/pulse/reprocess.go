package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/stack"
)

type reprocessCommand struct {
	State bool `required:"" help:"Forget aggregate's histories in Redis and read them again from Kafka. Nothing is emitted."`
}

// Run rebuilds the state that aggregate keeps in Redis.
func (r *reprocessCommand) Run(ctx context.Context, p *place) error {
	env, err := p.addresses()
	if err != nil {
		return err
	}
	program, err := stack.Program("aggregate")
	if err != nil {
		return err
	}
	began := time.Now()
	c := exec.CommandContext(ctx, program, "rebuild")
	c.Env, c.Stderr = environ(env), os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = time.Minute
	if err := c.Run(); err != nil {
		return errors.Join(fmt.Errorf("rebuild the state: %w", err), ctx.Err())
	}
	fmt.Printf("the histories in Redis are those of Kafka again, after %.1f s\n", time.Since(began).Seconds())
	return nil
}
