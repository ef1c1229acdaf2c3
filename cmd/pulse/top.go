package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

type topCommand struct {
	Window string `default:"7d" enum:"1h,24h,7d,30d" help:"Window: 1h, 24h, 7d or 30d."`
	Each   int    `default:"5" help:"Number of repositories of each company."`
	Days   int    `default:"30" help:"Days of the sparkline, 2 to 366."`
	format
}

// maxEach bounds the repositories of one company in a ranking.
const maxEach = 1000

// checkDays refuses a series of no days, or of more than a screen shows.
func checkDays(days int) error {
	if days < 2 || days > 366 {
		return errors.New("--days must be 2 to 366")
	}
	return nil
}

// Run reads the ranking from ClickHouse.
func (t *topCommand) Run(ctx context.Context, p *place) error {
	if t.Each < 1 || t.Each > maxEach {
		return fmt.Errorf("--each %d: want 1 to %d", t.Each, maxEach)
	}
	if err := checkDays(t.Days); err != nil {
		return err
	}
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	movers, err := hot.Movers(ctx, conn, t.Window, t.Each)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("Fastest movers per company over %s (net stars; ranked by stars a day)", t.Window),
		columns: []string{"Company", "Repository", "Language", "Stars", "Net", "A day", "Stars by day"}, right: []string{"Stars", "Net", "A day"},
		fields: []string{"stars_delta_" + t.Window, "stars_per_day_" + t.Window},
	}
	if t.CSV {
		out.columns = []string{"company", "repository", "language", "stars", "stars_delta_" + t.Window, "stars_per_day_" + t.Window, "observed_at", "repo_id"}
	}
	for _, m := range movers {
		out.plain = append(out.plain, []string{m.Company, m.Repository, m.Language, fmt.Sprint(m.Stars), plain(m.Delta), plain(m.PerDay), m.ObservedAt.Format(time.RFC3339), fmt.Sprint(m.RepoID)})
	}
	if t.JSON || t.CSV || t.Explain || len(movers) == 0 {
		return t.print(out, movers)
	}
	for _, m := range movers {
		days, err := hot.Stars(ctx, conn, m.RepoID, t.Days)
		if err != nil {
			return err
		}
		out.shown = append(out.shown, table.Row{m.Company, m.Label(), m.Language, count(m.Stars), signed(m.Delta), rate(m.PerDay), sparkline(days)})
	}
	if !slices.ContainsFunc(movers, func(m hot.Mover) bool { return m.Delta != nil }) {
		from, err := hot.ChangesFrom(ctx, conn, hot.Filter{}, t.Window)
		if err != nil {
			return err
		}
		if from != nil {
			out.remark = fmt.Sprintf("Changes over %s are known from %s: the first reading is old enough then.", t.Window, from.Format("2 January 2006 15:04 UTC"))
		}
	}
	return t.print(out, movers)
}

func printMovers(window string, movers []hot.Mover) {
	if len(movers) == 0 {
		fmt.Println("nothing has been observed yet")
		return
	}
	var latest time.Time
	for _, m := range movers {
		if m.ObservedAt.After(latest) {
			latest = m.ObservedAt
		}
	}
	spans := map[string]string{"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
	fmt.Printf("Fastest movers of the last %s, per company, as of %s UTC (net stars; ranked by stars a day)\n", spans[window], latest.Format("2006-01-02 15:04"))
	t := newTable("Company", "Repository", "Language", "Stars", "Net", "A day")
	t.SetColumnConfigs([]table.ColumnConfig{
		{Name: "Stars", Align: text.AlignRight}, {Name: "Net", Align: text.AlignRight}, {Name: "A day", Align: text.AlignRight},
	})
	before := ""
	for _, m := range movers {
		company := m.Company
		if company == before {
			company = ""
		}
		before = m.Company
		t.AppendRow(table.Row{company, m.Label(), m.Language, count(m.Stars), signed(m.Delta), rate(m.PerDay)})
	}
	t.Render()
}
