package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/audit"
	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
)

// sweep reads GitHub once and shows what it saw. A first sweep of large owners can
// take most of an hour: an interrupt ends the wait, not the sweep.
func (u *upCommand) sweep(ctx context.Context, p *place, s *stack.Stack) error {
	if err := s.Cluster.Tick(ctx, "fetch-org"); err != nil {
		return fmt.Errorf("first sweep: %w", err)
	}
	fmt.Println("Sweeping GitHub; this can take up to an hour. The stack goes on by itself at each full hour.")
	if err := u.untilSwept(ctx, s); err != nil {
		return err
	}
	st, err := pipeline.Open(ctx, s.Env)
	if err != nil {
		return err
	}
	defer closeStores(st)
	if _, err := st.WaitAtRest(ctx, p.runner(s.Env)); err != nil {
		return err
	}
	ledger, err := st.Log.Ledger(ctx)
	if err != nil {
		return err
	}
	fmt.Println()
	printLedger(ledger)
	printFailed(ledger.Failed())
	movers, err := hot.Movers(ctx, st.Hot, "24h", 3)
	if err != nil {
		return err
	}
	fmt.Println()
	printMovers("24h", movers)
	why := ""
	if !slices.ContainsFunc(movers, func(m hot.Mover) bool { return m.Delta != nil }) {
		why = "Velocities need a second reading: "
	}
	next := time.Now().Truncate(time.Hour).Add(time.Hour)
	fmt.Printf("%sthe next sweep is due at %s.\n", why, next.Format("15:04"))
	return nil
}

// untilSwept waits until every owner has its ledger line.
func (u *upCommand) untilSwept(ctx context.Context, s *stack.Stack) error {
	last := int64(-1)
	for {
		left, err := sweep.Unfinished(ctx, s.Env["REDIS_URL"])
		if err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		if left != last {
			fmt.Printf("  %d owners to go\n", left)
			last = left
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printLedger shows the newest sweep's ledger: how complete it was.
func printLedger(ledger audit.Ledger) {
	if len(ledger) == 0 {
		return
	}
	newest := slices.Max(slices.Collect(maps.Keys(ledger)))
	lines := ledger[newest]
	slices.SortFunc(lines, func(a, b event.OwnerSwept) int { return int(b.Seen - a.Seen) })
	fmt.Printf("Sweep %s\n", newest)
	t := newTable("Owner", "Status", "Seen", "Expected", "Unanswered", "Points", "Seconds", "Why")
	for _, l := range lines {
		expected, why := "–", ""
		if l.Expected != nil {
			expected = count(*l.Expected)
		}
		if l.Reason != nil {
			why = oneLine(*l.Reason)
		}
		t.AppendRow(table.Row{l.Owner, l.Status, count(l.Seen), expected, count(l.Unanswered), count(l.Points), fmt.Sprintf("%.1f", l.Seconds), why})
	}
	t.Render()
}
