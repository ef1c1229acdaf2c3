package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/pipeline"
)

type forgetCommand struct {
	Login   string        `arg:"" help:"Login of the person; all accounts that have had it."`
	Timeout time.Duration `default:"10m" help:"Longest wait for the pipeline to have no work left."`
}

// Run deletes a person's events from both stores. It may be run again.
func (c *forgetCommand) Run(ctx context.Context, p *place) error {
	s, env, err := p.pipeline(ctx)
	if err != nil {
		return err
	}
	defer closeStores(s)
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if _, err := s.WaitAtRest(ctx, p.runner(env)); err != nil {
		return err
	}
	ids, err := s.Forget(ctx, c.Login)
	if errors.Is(err, pipeline.ErrOwner) {
		return fmt.Errorf("%w: `pulse owners remove %s --purge` deletes these and all that is in them first", err, c.Login)
	}
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		fmt.Printf("no stored event knows an account called %s\n", c.Login)
		return nil
	}
	fmt.Printf("forgotten: the events of %s (accounts %d), in ClickHouse and Iceberg\n", c.Login, ids)
	fmt.Println("Earlier snapshots of Iceberg show them until `pulse maintain` has expired these, Kafka until their retention ends: docs/privacy.md.")
	return nil
}
