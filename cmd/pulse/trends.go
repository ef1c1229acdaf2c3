package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

type trendsCommand struct {
	By   string `default:"company" enum:"company,owner,language" help:"Group by company, owner or language."`
	Days int    `default:"30" help:"Days of the series, 2 to 366."`
	Top  int    `default:"15" help:"Number of groups, fastest first."`
	format
}

// Run ranks groups of repositories by stars a day.
func (t *trendsCommand) Run(ctx context.Context, p *place) error {
	if t.Days < 2 || t.Days > 366 || t.Top < 1 || t.Top > maxEach {
		return fmt.Errorf("--days must be 2 to 366, --top 1 to %d", maxEach)
	}
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	trends, err := hot.Trends(ctx, conn, t.By, t.Days, t.Top)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("Stars a day by %s, %d days up to the newest reading (net, over 7 days; repositories read in its last three days)", t.By, t.Days),
		columns: []string{"Group", "Repositories", "Stars", "7 d", "30 d", "A day", "Stars a day, by day"},
		right:   []string{"Repositories", "Stars", "7 d", "30 d", "A day"},
		fields:  []string{"stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"},
	}
	for _, g := range trends {
		out.shown = append(out.shown, table.Row{g.Group, g.Repositories, count(g.Stars), signed(g.Stars7d), signed(g.Stars30d), rate(g.PerDay7d), sparkline(g.Days)})
		out.plain = append(out.plain, []string{g.Group, fmt.Sprint(g.Repositories), fmt.Sprint(g.Stars), plain(g.Stars7d), plain(g.Stars30d), plain(g.PerDay7d)})
	}
	if t.CSV {
		out.columns = []string{t.By, "repositories", "stars", "stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"}
	}
	return t.print(out, trends)
}
