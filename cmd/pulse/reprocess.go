package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/reprocess"
)

type reprocessCommand struct {
	State       bool          `xor:"what" help:"Discard the histories in Redis and rebuild them from Kafka, and from Iceberg where Kafka no longer has what they need. Nothing is emitted."`
	FromIceberg bool          `help:"With --state: read Iceberg even if Kafka has everything."`
	From        string        `placeholder:"DAY" help:"First of the closed days (YYYY-MM-DD) to compute again into a draft, audit, and publish in both stores."`
	To          string        `placeholder:"DAY" help:"Last day; by default the same as --from."`
	Hold        bool          `help:"Leave the audited draft unpublished, to look at. The same command without --hold publishes it."`
	Quality     string        `enum:"installed,always,never" default:"installed" help:"Whether a draft is held against the critical expectations of pulse quality before it is published: if Great Expectations is installed, always, or never."`
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
	s, err := pipeline.Open(ctx, env)
	if err != nil {
		return err
	}
	defer closeStores(s)
	d, err := reprocess.OpenDraft(ctx, s, env)
	if err != nil {
		return err
	}
	defer closeStores(d)
	ctx, release, err := d.Lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if r.Drop {
		if err := d.Drop(ctx); err != nil {
			return err
		}
		fmt.Println("dropped: what is published stays as it is")
		return nil
	}
	check, err := p.draftCheck(ctx, env, r.Quality)
	if err != nil {
		return err
	}
	return r.days(ctx, p.runner(env), s, d, check)
}

// state rebuilds aggregate's histories.
func (r *reprocessCommand) state(ctx context.Context, env map[string]string) error {
	bar := newBar("reprocess the state", "records")
	began := time.Now()
	records, iceberg, err := reprocess.State(ctx, env, r.FromIceberg, bar.show)
	bar.close()
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if r.JSON {
		return printJSON(map[string]any{"records": records, "seconds": seconds, "iceberg": iceberg})
	}
	from := "Kafka"
	if iceberg {
		from = "Iceberg and Kafka"
	}
	fmt.Printf("state: %s records from %s in %.1f s\n", count(records), from, seconds)
	return nil
}

// days computes closed days again: write, audit, publish.
func (r *reprocessCommand) days(ctx context.Context, runner pipeline.Runner, s *pipeline.Pipeline, d *reprocess.Draft, check func(context.Context) ([]string, error)) error {
	order, err := r.order()
	if err != nil {
		return err
	}
	began := time.Now()
	// Records that are still on their way would be missing from the days.
	waiting, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	if _, err := s.WaitAtRest(waiting, runner); err != nil {
		return err
	}
	bar := newBar("reprocess", "days")
	order.Check = check
	out, err := d.Run(ctx, order, func(done, all int) { bar.show(int64(done), int64(all)) })
	bar.close()
	if err != nil {
		return err
	}
	return r.report(out, time.Since(began).Seconds())
}

// order reads the days and refuses those that are not over.
func (r *reprocessCommand) order() (o reprocess.Order, err error) {
	if r.To == "" {
		r.To = r.From
	}
	for _, day := range []string{r.From, r.To} {
		if at, err := time.Parse(time.DateOnly, day); err != nil || at.Format(time.DateOnly) != day {
			return o, fmt.Errorf("invalid day %q: want YYYY-MM-DD", day)
		}
	}
	o = reprocess.Order{From: sinkiceberg.Day(r.From), To: sinkiceberg.Day(r.To), Hold: r.Hold, Timeout: r.Timeout}
	if today := sinkiceberg.DayOf(time.Now()); o.To >= today {
		return o, fmt.Errorf("day %s is not over: want one before %s", o.To, today)
	}
	return o, nil
}

func (r *reprocessCommand) report(out *reprocess.Outcome, seconds float64) error {
	if r.JSON {
		err := printJSON(struct {
			*reprocess.Outcome
			Seconds float64 `json:"seconds"`
		}{out, seconds})
		if err != nil {
			return err
		}
	} else {
		fmt.Printf("%s to %s: %s rows, %s days computed in %.1f s\n", out.From, out.To, count(out.Rows), count(int64(out.Computed)), seconds)
		switch {
		case len(out.Differences) > 0:
			for _, what := range out.Differences[:min(len(out.Differences), shown)] {
				fmt.Println("  " + what)
			}
			fmt.Println("The audit found differences: the draft is dropped, nothing is published.")
		case len(out.Failures) > 0:
			for _, what := range out.Failures[:min(len(out.Failures), shown)] {
				fmt.Println("  " + oneLine(what))
			}
			fmt.Println("Critical expectations do not hold: nothing is published. The draft is kept, to look at: --drop removes it, --quality never publishes it all the same.")
		case out.Published:
			fmt.Printf("published: %s days have changed\n", count(int64(len(out.Changed))))
			if !out.Checked {
				fmt.Println("It was not held against the expectations of pulse quality: Great Expectations is not installed (pulse quality --install), or --quality never.")
			}
		default:
			fmt.Println("audited and held: the same command without --hold publishes, --drop removes it")
		}
	}
	if len(out.Differences) > 0 || len(out.Failures) > 0 {
		return exitStatus(1)
	}
	return nil
}
