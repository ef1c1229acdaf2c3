package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/audit"
	"github.com/m7pulse/m7pulse/pipeline"
)

type auditCommand struct {
	JSON    bool          `help:"Print JSON."`
	Wait    bool          `help:"First wait until running replays have ended and no stage has work left."`
	Timeout time.Duration `default:"10m" help:"Longest wait."`
}

// Run compares the stores and fails on any difference, and on a failed sweep.
func (a *auditCommand) Run(ctx context.Context, p *place) error {
	s, env, err := p.pipeline(ctx)
	if err != nil {
		return err
	}
	defer closeStores(s)
	at, err := a.snapshot(ctx, s, p.runner(env))
	if err != nil {
		return err
	}
	report, err := s.Audit(ctx, at)
	if err != nil {
		return err
	}
	if a.JSON {
		err = printJSON(report)
	} else {
		printReport(report)
	}
	if err == nil && !report.Clean {
		err = exitStatus(1)
	}
	return err
}

// snapshot takes the snapshot that is audited, with --wait one in which no stage has
// work left. A sweep may go on meanwhile: what it adds later is left out.
func (a *auditCommand) snapshot(ctx context.Context, s *pipeline.Pipeline, r pipeline.Runner) (*pipeline.Snapshot, error) {
	if !a.Wait {
		return s.Snapshot(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	return s.WaitAtRest(waiting, r)
}

// shown is how many differences and rows are printed; JSON has more.
const shown = 20

func printKeyed(what string, k *audit.Keyed) {
	if k == nil || k.Records == 0 {
		return
	}
	fmt.Printf("%s: %s in Kafka", what, count(k.Kafka))
	for _, store := range slices.Sorted(maps.Keys(k.Tables)) {
		fmt.Printf(", %s in %s", count(k.Tables[store]), store)
	}
	fmt.Println(".")
}

func printReport(r *audit.Report) {
	header, row := []any{"Observations", "Kafka"}, table.Row{count(r.Observations), count(r.Kafka)}
	for _, t := range r.Tables {
		header, row = append(header, t.Heading()), append(row, count(t.Distinct))
	}
	t := newTable(append(header, "Repositories", "Duplicates", "Dead letters")...)
	t.AppendRow(append(row, count(r.Repos), count(r.Duplicates), count(r.DeadLetters)))
	t.Render()
	printKeyed("Events of feeds", r.Events)
	printKeyed("Signals", r.Signals)
	printGaps(r.FeedGaps)
	if r.Expired > 0 {
		fmt.Printf("Kafka's retention has deleted %s observations; those are compared between the stores only.\n", count(r.Expired))
	}
	printFailed(r.FailedSweeps)
	if len(r.Differences) == 0 {
		verdict := "Audit clean"
		if !r.Clean {
			verdict = "AUDIT NOT CLEAN, though the stores agree"
		}
		fmt.Printf("%s: every observation once in every store, all counters, texts, velocities and flags equal by checksum, on %d days.\n", verdict, len(r.Days))
		return
	}
	fmt.Printf("AUDIT NOT CLEAN: %d differences\n", len(r.Differences))
	for i, d := range r.Differences {
		if i == shown {
			fmt.Printf("  … and %d more (--json has them all)\n", len(r.Differences)-i)
			break
		}
		fmt.Println("  " + visible(d))
	}
	if len(r.Rows) == 0 {
		return
	}
	fmt.Println("Rows that differ:")
	for i, d := range r.Rows {
		if i == shown {
			fmt.Printf("  … and %d more in --json\n", len(r.Rows)-i)
			break
		}
		fmt.Printf("  repository %d at %s: %s\n", d.RepoID, d.ObservedAt.Format(time.RFC3339Nano), d.What)
	}
}
