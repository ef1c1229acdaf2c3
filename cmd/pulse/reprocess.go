package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

type reprocessCommand struct {
	State       bool          `xor:"what" help:"Discard the histories in Redis and rebuild them from Kafka, and from Iceberg where Kafka no longer has what they need. Nothing is emitted."`
	FromIceberg bool          `help:"With --state: read Iceberg even if Kafka has everything."`
	From        string        `placeholder:"DAY" help:"First of the closed days (YYYY-MM-DD) to compute again into a draft, audit, and publish in both stores."`
	To          string        `placeholder:"DAY" help:"Last day; by default the same as --from."`
	Hold        bool          `help:"Leave the audited draft unpublished, to look at. The same command without --hold publishes it."`
	Drop        bool          `xor:"what" help:"Remove the unpublished draft."`
	JSON        bool          `help:"Print JSON."`
	Timeout     time.Duration `default:"10m" help:"Longest wait for the pipeline to have no work left, and for a sink to be at rest."`
}

// Run computes again what follows from the observations. It may run beside the
// functions, and be stopped and started again.
func (r *reprocessCommand) Run(ctx context.Context, p *place) error {
	switch {
	case r.State == r.Drop && r.From == "":
		return errors.New("want one of --state, --from DAY [--to DAY] and --drop")
	case (r.State || r.Drop) && (r.From != "" || r.To != "" || r.Hold), r.To != "" && r.From == "", r.FromIceberg && !r.State:
		return errors.New("--from, --to and --hold go together, --from-iceberg goes with --state")
	}
	env, err := p.addresses()
	if err != nil {
		return err
	}
	if r.State {
		return r.state(ctx, env)
	}
	quiet() // the libraries log every file
	s, err := openStores(ctx, env)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := openDraft(ctx, s, env)
	if err != nil {
		return err
	}
	defer d.close()
	ctx, release, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if r.Drop {
		if err := d.drop(ctx); err != nil {
			return err
		}
		fmt.Println("dropped: what is published stays as it is")
		return nil
	}
	return r.days(ctx, p, env, s, d)
}

// state rebuilds aggregate's histories.
func (r *reprocessCommand) state(ctx context.Context, env map[string]string) error {
	archive, err := r.archive(ctx, env)
	if err != nil {
		return err
	}
	bar := newBar("reprocess the state", "records")
	began := time.Now()
	records, err := aggregate.Rebuild(ctx, env, archive, func(done, all int64) {
		bar.ChangeMax64(all)
		_ = bar.Set64(done) // a bar that cannot be drawn stops nothing
	})
	if err := errors.Join(err, bar.Close()); err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if r.JSON {
		return printJSON(map[string]any{"records": records, "seconds": seconds, "iceberg": archive != nil})
	}
	from := "Kafka"
	if archive != nil {
		from = "Iceberg and Kafka"
	}
	fmt.Printf("state: %s records from %s in %.1f s\n", count(records), from, seconds)
	return nil
}

// archive is Iceberg, if it is asked for or Kafka's retention has deleted
// observations.
func (r *reprocessCommand) archive(ctx context.Context, env map[string]string) (aggregate.Archive, error) {
	needed := r.FromIceberg
	if !needed {
		cfg, err := stack.KafkaOf(ctx, env)
		if err != nil {
			return nil, err
		}
		if needed, err = kafka.Truncated(ctx, cfg, event.TopicBaseRepos); err != nil {
			return nil, err
		}
	}
	if !needed {
		return nil, nil
	}
	s, err := openStores(ctx, env)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, each func([]*event.RepoObserved) error) (string, map[int32]int64, error) {
		defer s.close()
		at, err := sinkiceberg.ReadObserved(ctx, s.cold, nil, each)
		return at.TopicID, at.Next, err
	}, nil
}

// newBar is a progress bar on a terminal, and nothing elsewhere.
func newBar(what, of string) *progressbar.ProgressBar {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return progressbar.DefaultSilent(-1)
	}
	return progressbar.NewOptions64(-1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(of), progressbar.OptionClearOnFinish())
}
