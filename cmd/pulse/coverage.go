package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

// scopeArgs choose whose events a command is about.
type scopeArgs struct {
	Repository string `arg:"" optional:"" help:"owner/name, or a repo_id; all repositories unless given."`
	Owner      string `help:"All repositories of this owner."`
	Company    string `help:"All repositories of this company."`
}

// open connects to the hot store and finds there what was chosen.
func (a scopeArgs) open(ctx context.Context, p *place) (driver.Conn, hot.Scope, error) {
	conn, err := p.hotStore()
	if err != nil {
		return nil, hot.Scope{}, err
	}
	scope, err := hot.ScopeOf(ctx, conn, a.Repository, a.Owner, a.Company)
	if err != nil {
		return nil, hot.Scope{}, errors.Join(err, conn.Close())
	}
	return conn, scope, nil
}

type coverageCommand struct {
	scopeArgs
	Days  int  `default:"30" help:"Days up to the newest reading, 2 to 366."`
	ByDay bool `help:"A line for each day."`
	format
}

// Run shows how many events GitHub's feeds have lost.
func (c *coverageCommand) Run(ctx context.Context, p *place) error {
	if err := checkDays(c.Days); err != nil {
		return err
	}
	conn, scope, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	span, err := lastDays(ctx, conn, c.Days)
	if err != nil {
		return err
	}
	read := hot.Coverage
	if c.ByDay {
		read = hot.CoverageByDay
	}
	found, err := read(ctx, conn, scope, span)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("Events of %s that are stored, of those that the counters say there were, %d days up to the newest reading", scope, c.Days),
		columns: []string{"Day", "Counter", "Events", "Change", "Stored", "Verdict", "Days", "Unknown", "Gaps"}, right: []string{"Events", "Change", "Stored", "Days", "Unknown", "Gaps"},
		defined: []any{hot.Covered{}},
	}
	if c.CSV {
		out.columns = []string{"day", "kind", "events", "change", "coverage", "verdict", "days", "unknown_days", "gap_days"}
	}
	for _, v := range found {
		out.shown = append(out.shown, table.Row{orUnknown(v.Day, "all"), v.Kind, count(v.Events), counted(v.Change), share(v.Coverage), orUnknown(v.Verdict, "–"), count(v.Days), count(v.Unknown), count(v.Gaps)})
		out.plain = append(out.plain, []string{orUnknown(v.Day, ""), v.Kind, fmt.Sprint(v.Events), plain(v.Change), plain(v.Coverage), orUnknown(v.Verdict, ""), fmt.Sprint(v.Days), fmt.Sprint(v.Unknown), fmt.Sprint(v.Gaps)})
	}
	return c.print(out, found)
}

// lastDays are the days up to the newest reading of all.
func lastDays(ctx context.Context, conn hot.Reader, days int) (hot.Span, error) {
	newest, err := hot.Newest(ctx, conn)
	to := newest.Truncate(24 * time.Hour)
	return hot.Span{From: to.AddDate(0, 0, 1-days), To: to, Zone: time.UTC}, err
}

// orUnknown is a text that may be unknown, and what is said then.
func orUnknown(v *string, unknown string) string {
	if v == nil {
		return unknown
	}
	return *v
}

// counted is a count that may be unknown.
func counted(v *int64) string {
	if v == nil {
		return "–"
	}
	return count(*v)
}

// share is a share of 1 in percent.
func share(v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100**v)
}
