package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/m7pulse/m7pulse/functions/notify"
	"github.com/m7pulse/m7pulse/infra/local/stack"
)

type notifyCommand struct {
	Test notifyTestCommand `cmd:"" help:"Send a sample to each target of signals.yaml."`
}

type notifyTestCommand struct {
	Target string `arg:"" optional:"" help:"Only this target."`
}

// Run sends a sample to each target, and fails if one does not accept it.
func (c *notifyTestCommand) Run(ctx context.Context, p *place) error {
	file := stack.SignalsFile(p.env, p.root)
	rules, err := notify.ReadRules(p.env["SIGNALS"], file)
	if err != nil {
		return err
	}
	if _, ok := rules.Targets[c.Target]; c.Target != "" && !ok {
		return fmt.Errorf("there is no target %q in the rules", c.Target)
	}
	if len(rules.Targets) == 0 {
		return fmt.Errorf("no target is configured: write %s, or set SIGNALS (docs/signals.md)", file)
	}
	var errs []error
	for _, tried := range notify.Try(ctx, rules, c.Target) {
		if tried.Err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", tried.Target, tried.Err))
			continue
		}
		fmt.Println("accepted:", tried.Target)
	}
	return errors.Join(errs...)
}
