package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/child"
)

type drainCommand struct {
	Stage     string `arg:"" enum:"aggregate,sink-clickhouse,sink-iceberg" help:"aggregate, sink-clickhouse or sink-iceberg."`
	Processes int    `default:"1" help:"Number of processes on this machine that share the partitions."`
	JSON      bool   `help:"Print JSON."`
}

// Run drains a stage in bulk mode: what is in its topics now is done when it
// returns. It may be stopped and started again at any time, and run beside the
// function.
func (d *drainCommand) Run(ctx context.Context, p *place) error {
	if d.Processes < 1 || d.Processes > 64 {
		return fmt.Errorf("--processes %d: want 1 to 64", d.Processes)
	}
	env, err := p.addresses()
	if err != nil {
		return err
	}
	program, err := stack.Program(d.Stage)
	if err != nil {
		return err
	}
	began := time.Now()
	backlog, err := pipeline.Backlog(ctx, env, d.Stage)
	if err != nil {
		return err
	}
	running, ended := context.WithCancel(ctx)
	go d.progress(running, env, backlog)
	var all errgroup.Group
	for i := range d.Processes {
		all.Go(func() error {
			c := exec.Command(program, "drain")
			c.Env = append(environ(env), fmt.Sprintf("SHARE=%d/%d", i, d.Processes)) // aggregate ignores it: its group shares the partitions
			c.Stderr = os.Stderr
			return child.Run(ctx, c, time.Minute)
		})
	}
	err = all.Wait()
	ended()
	if err != nil {
		return errors.Join(fmt.Errorf("drain %s: %w", d.Stage, err), ctx.Err())
	}
	seconds := time.Since(began).Seconds()
	if d.JSON {
		return printJSON(map[string]any{"stage": d.Stage, "records": backlog, "seconds": seconds})
	}
	fmt.Printf("%s: %s records in %.1f s\n", d.Stage, count(backlog), seconds)
	return nil
}

// progress shows how much is left until ctx ends.
func (d *drainCommand) progress(ctx context.Context, env map[string]string, backlog int64) {
	bar := newBar("drain "+d.Stage, "records")
	defer bar.close()
	if bar.silent() || backlog == 0 {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
		if left, err := pipeline.Backlog(ctx, env, d.Stage); err == nil {
			bar.show(max(0, backlog-left), backlog)
		}
	}
}

func environ(env map[string]string) []string {
	out := os.Environ()
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	return out
}
