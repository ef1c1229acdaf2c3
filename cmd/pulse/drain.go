package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
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
	backlog, err := d.backlog(ctx, env)
	if err != nil {
		return err
	}
	running, ended := context.WithCancel(ctx)
	go d.progress(running, env, backlog)
	var all errgroup.Group
	for i := range d.Processes {
		all.Go(func() error {
			c := exec.CommandContext(ctx, program, "drain")
			c.Env = append(environ(env), fmt.Sprintf("SHARE=%d/%d", i, d.Processes)) // aggregate ignores it: its group shares the partitions
			c.Stderr = os.Stderr
			c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
			c.WaitDelay = time.Minute
			return c.Run()
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

// backlog is how many records the stage has still to do, including control records.
func (d *drainCommand) backlog(ctx context.Context, env map[string]string) (int64, error) {
	if d.Stage != "aggregate" {
		s, err := openStores(ctx, env)
		if err != nil {
			return 0, err
		}
		defer s.close()
		behind, err := s.behind(ctx)
		return behind[d.Stage], err
	}
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return 0, err
	}
	ends, err := kafka.Ends(ctx, cfg, event.TopicBaseRepos)
	if err != nil {
		return 0, err
	}
	starts, err := kafka.Starts(ctx, cfg, event.TopicBaseRepos)
	if err != nil {
		return 0, err
	}
	done, err := kafka.Committed(ctx, cfg, aggregate.Group, event.TopicBaseRepos)
	if err != nil {
		return 0, err
	}
	return done.Behind(starts, ends), nil
}

// progress shows on a terminal how much is left until ctx ends.
func (d *drainCommand) progress(ctx context.Context, env map[string]string, backlog int64) {
	if !term.IsTerminal(int(os.Stderr.Fd())) || backlog == 0 {
		return
	}
	bar := progressbar.NewOptions64(backlog, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("drain "+d.Stage),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("records"), progressbar.OptionClearOnFinish())
	defer bar.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
		if left, err := d.backlog(ctx, env); err == nil {
			_ = bar.Set64(max(0, backlog-left)) // a bar that cannot be drawn stops nothing
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
