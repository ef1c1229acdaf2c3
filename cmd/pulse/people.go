package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

// windowArgs choose the window of figures of events.
type windowArgs struct {
	Window int `default:"30" enum:"7,30,90" help:"Window in days: 7, 30 or 90, up to the newest event."`
}

type peopleCommand struct {
	scopeArgs
	windowArgs
	format
}

// Run shows who works in repositories.
func (c *peopleCommand) Run(ctx context.Context, p *place) error {
	conn, scope, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	found, err := hot.PeopleOf(ctx, conn, scope, c.Window)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("Contributors of %s", scope),
		columns: []string{"Days", "Who", "Active", "New", "Continuing", "Returning", "Left"}, right: []string{"Days", "Active", "New", "Continuing", "Returning", "Left"},
		defined: []any{hot.People{}, hot.Contributors{}, hot.Concentration{}, hot.Contributor{}},
	}
	if c.CSV {
		out.columns = []string{"days", "kind", "active", "new", "continuing", "returning", "left"}
	}
	for _, v := range found.Contributors {
		out.shown = append(out.shown, table.Row{count(v.Days), v.Kind, count(v.Active), counted(v.New), count(v.Continuing), counted(v.Returning), count(v.Left)})
		out.plain = append(out.plain, []string{fmt.Sprint(v.Days), v.Kind, fmt.Sprint(v.Active), plain(v.New), fmt.Sprint(v.Continuing), plain(v.Returning), fmt.Sprint(v.Left)})
	}
	if err := c.print(out, found); err != nil || c.JSON || c.CSV || c.Explain || len(out.shown) == 0 {
		return err
	}
	merged := found.Concentration
	fmt.Printf("\nMerged in %d days: %s pull requests of %s people; %s of bots, %s of unknown authors. Bus factor %s: ",
		c.Window, count(merged.Merged), count(merged.People), count(merged.MergedByBots), count(merged.AuthorUnknown), counted(merged.BusFactor))
	fmt.Printf("the first has %s, the first three %s, the first ten %s.\n\n", share(merged.Top1), share(merged.Top3), share(merged.Top10))
	top := sheet{title: fmt.Sprintf("Most active in %d days", c.Window), columns: []string{"Who", "Merged", "Contributions", "Last"}, right: []string{"Merged", "Contributions"}}
	for _, v := range found.Top {
		top.shown = append(top.shown, table.Row{v.Login, count(v.Merged), count(v.Contributions), v.LastAt.Format("2006-01-02 15:04")})
	}
	if len(top.shown) > 0 {
		top.show()
	}
	printCoverage(found.AsOf, found.Coverage)
	return nil
}

// printCoverage says how far figures of events can be trusted.
func printCoverage(asOf *time.Time, c *hot.Covered) {
	stored := "how many were lost is not known"
	if c != nil && c.Coverage != nil {
		stored = share(c.Coverage) + " of those that the counters say there were: " + *c.Verdict
	}
	if asOf != nil {
		fmt.Printf("\nEvents up to %s UTC; %s.\n", asOf.Format("2006-01-02 15:04"), stored)
	}
}

type flowCommand struct {
	scopeArgs
	windowArgs
	format
}

// Run shows how work goes through repositories.
func (c *flowCommand) Run(ctx context.Context, p *place) error {
	conn, scope, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	found, err := hot.FlowOf(ctx, conn, scope, c.Window)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("How long issues and pull requests of %s have waited that people opened in %d days", scope, c.Window),
		columns: []string{"What", "Opened", "Ended", "Median", "90 %", "Begin unknown"}, right: []string{"Opened", "Ended", "Median", "90 %", "Begin unknown"},
		defined: []any{hot.Flow{}, hot.WaitingTime{}, hot.Throughput{}, hot.Gross{}, hot.WeekHour{}},
	}
	if c.CSV {
		out.columns = []string{"measure", "items", "ended", "median_seconds", "p90_seconds", "unknown_begin"}
	}
	for _, v := range found.Times {
		out.shown = append(out.shown, table.Row{v.Measure, count(v.Items), count(v.Ended), wait(v.MedianSeconds), wait(v.P90Seconds), count(v.UnknownBegin)})
		out.plain = append(out.plain, []string{v.Measure, fmt.Sprint(v.Items), fmt.Sprint(v.Ended), plain(v.MedianSeconds), plain(v.P90Seconds), fmt.Sprint(v.UnknownBegin)})
	}
	if err := c.print(out, found); err != nil || c.JSON || c.CSV || c.Explain || len(out.shown) == 0 {
		return err
	}
	fmt.Println()
	for _, v := range found.Items {
		fmt.Printf("%s: %s opened, %s closed, %s merged, %s reopened\n", v.Kind, count(v.Opened), count(v.Closed), count(v.Merged), count(v.Reopened))
	}
	for _, v := range found.Gross {
		fmt.Printf("%s: %s gained, %s net\n", v.Counter, count(v.Gained), signed(v.Net))
	}
	if hours := pushesByHour(found.Hours); hours != "" {
		fmt.Printf("pushes by hour of the day, UTC: %s\n", hours)
	}
	printCoverage(found.AsOf, found.Coverage)
	return nil
}

// wait is a time that work has waited.
func wait(seconds *float64) string {
	if seconds == nil {
		return "–"
	}
	switch s := *seconds; {
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 2*3600:
		return fmt.Sprintf("%.0f min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%.1f h", s/3600)
	}
	return fmt.Sprintf("%.1f d", *seconds/86400)
}

// pushesByHour is a sparkline of 24 hours, or nothing if there were no pushes.
func pushesByHour(hours []hot.WeekHour) string {
	sums := make([]*float64, 24)
	for i := range sums {
		sums[i] = new(float64)
	}
	pushed := false
	for _, h := range hours {
		*sums[h.Hour] += float64(h.Pushes)
		pushed = pushed || h.Pushes > 0
	}
	if !pushed {
		return ""
	}
	return sparkline(sums)
}
