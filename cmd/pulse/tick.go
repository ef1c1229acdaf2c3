package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/infra/local/stack"
)

type tickCommand struct{}

// Run sends the sweep tick.
func (t *tickCommand) Run(ctx context.Context, p *place) error {
	env, err := p.home.ReadEnv()
	if err != nil {
		return err
	}
	control := stack.NewControl(env)
	status, err := control.Status(ctx)
	if err != nil {
		return err
	}
	if !status.Live {
		return errors.New("this stack replays a recording and cannot sweep: start one with GITHUB_TOKEN set")
	}
	if err := control.Tick(ctx, "fetch-org"); err != nil {
		return err
	}
	fmt.Println("sweep requested; `pulse status` shows it run, `pulse audit` how complete it was")
	failed, err := failedNow(ctx, env)
	if err != nil {
		return err
	}
	for _, f := range failed {
		fmt.Printf("tried again: %s, whose sweep %s failed: %s\n", visible(f.Owner), visible(f.SweepID), visible(f.Reason))
	}
	return nil
}

type wakeCommand struct {
	Function string `arg:"" optional:"" help:"One function; by default all."`
}

// Run wakes functions and returns when they have done what was left, or are doing
// it.
func (w *wakeCommand) Run(ctx context.Context, p *place) error {
	env, err := p.home.ReadEnv()
	if err != nil {
		return err
	}
	control := stack.NewControl(env)
	status, err := control.Status(ctx)
	if err != nil {
		return err
	}
	var names []string // of those that a tick wakes; the api only answers
	for _, f := range status.Functions {
		if slices.ContainsFunc(status.Ticks, func(t knative.TickStatus) bool { return t.Function == f.Name }) {
			names = append(names, f.Name)
		}
	}
	if w.Function != "" && !slices.Contains(names, w.Function) {
		return fmt.Errorf("unknown function %q: want one of %s", w.Function, strings.Join(names, ", "))
	}
	var errs []error
	for _, name := range names {
		if w.Function != "" && name != w.Function || w.Function == "" && (name == "fetch-org" || name == "fetch-events") && !status.Live {
			continue
		}
		if err := control.Wake(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("wake %s: %w", name, err))
			continue
		}
		fmt.Println("woken:", name)
	}
	return errors.Join(errs...)
}
