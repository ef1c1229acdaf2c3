package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/pipeline"
)

type forgetCommand struct {
	Login     string        `arg:"" help:"Login of the person; all accounts that have had it."`
	KeepKafka bool          `help:"Leave Kafka alone: its records go when their retention ends."`
	Timeout   time.Duration `default:"10m" help:"Longest wait for the pipeline to have no work left."`
}

// Run deletes a person's events from Kafka and both stores. It may be run again.
func (c *forgetCommand) Run(ctx context.Context, p *place) error {
	s, env, err := p.pipeline(ctx)
	if err != nil {
		return err
	}
	defer closeStores(s)
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	at, err := s.WaitAtRest(ctx, p.runner(env))
	if err != nil {
		return err
	}
	forgotten, err := s.Forget(ctx, at, c.Login, c.KeepKafka)
	if errors.Is(err, pipeline.ErrNotStored) {
		return fmt.Errorf("%w; nothing was deleted: `pulse audit` says what is missing, --keep-kafka deletes from the stores alone", err)
	}
	if errors.Is(err, pipeline.ErrOwner) {
		return fmt.Errorf("%w: `pulse owners remove %s --purge` deletes these and all that is in them first", err, c.Login)
	}
	if err != nil {
		return err
	}
	if len(forgotten.Accounts) == 0 {
		fmt.Printf("no event knows an account called %s\n", c.Login)
		return nil
	}
	fmt.Printf("forgotten: the events of %s (accounts %d), in ClickHouse and Iceberg\n", c.Login, forgotten.Accounts)
	if c.KeepKafka {
		fmt.Println("Kafka has them until their retention ends.")
	} else {
		fmt.Printf("Kafka: %s records of github.events deleted, up to the last of theirs; what others did in them is in both stores.\n", count(forgotten.Records))
	}
	fmt.Println("Earlier snapshots of Iceberg show them until `pulse maintain` has expired these. What else there is: docs/privacy.md.")
	return nil
}
