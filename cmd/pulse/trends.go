package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

type trendsCommand struct {
	By   string `default:"company" enum:"company,owner,language" help:"Group by company, owner or language."`
	Days int    `default:"30" help:"Days of the series, 2 to 366."`
	Top  int    `default:"15" help:"Number of groups, fastest first."`
	format
}

// trend is how fast a group of repositories moves.
type trend struct {
	Group        string     `json:"group"`
	Repositories uint64     `json:"repositories"`
	Stars        int64      `json:"stars"`
	Stars7d      *int64     `json:"stars_delta_7d"`
	Stars30d     *int64     `json:"stars_delta_30d"`
	PerDay7d     *float64   `json:"stars_per_day_7d"`
	Days         []*float64 `json:"days"` // net stars a day over 7 days, summed over the repositories read that day
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
	if empty, err := sinkclickhouse.Empty(ctx, conn); err != nil {
		return err
	} else if empty {
		return t.print(sheet{}, []trend{})
	}
	group := map[string]string{"company": "ifNull(company, owner)", "owner": "toString(owner)", "language": "ifNull(primary_language, 'none')"}[t.By]
	rows, err := conn.Query(ctx, `
		SELECT `+group+` AS group_, count(), sum(stars), sum(stars_delta_7d), sum(stars_delta_30d), sum(stars_per_day_7d) AS rate
		FROM pulse.github_processed_repos FINAL
		WHERE observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY
		GROUP BY group_ ORDER BY rate DESC NULLS LAST, group_ LIMIT ?`, t.Top)
	if err != nil {
		return fmt.Errorf("rank the groups: %w", err)
	}
	defer rows.Close()
	var trends []trend
	for rows.Next() {
		var g trend
		if err := rows.Scan(&g.Group, &g.Repositories, &g.Stars, &g.Stars7d, &g.Stars30d, &g.PerDay7d); err != nil {
			return fmt.Errorf("rank the groups: %w", err)
		}
		trends = append(trends, g)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("rank the groups: %w", err)
	}
	out := sheet{
		title:   fmt.Sprintf("Stars a day by %s, %d days up to the newest reading (net, over 7 days; repositories read in its last three days)", t.By, t.Days),
		columns: []string{"Group", "Repositories", "Stars", "7 d", "30 d", "A day", "Stars a day, by day"},
		right:   []string{"Repositories", "Stars", "7 d", "30 d", "A day"},
		fields:  []string{"stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"},
	}
	for i, g := range trends {
		if g.Days, err = daysOf(ctx, conn, t.Days, "sum(stars_per_day_7d)", group+" = ?", g.Group); err != nil {
			return err
		}
		trends[i] = g
		out.shown = append(out.shown, table.Row{g.Group, g.Repositories, count(g.Stars), signed(g.Stars7d), signed(g.Stars30d), rate(g.PerDay7d), sparkline(g.Days)})
		out.plain = append(out.plain, []string{g.Group, fmt.Sprint(g.Repositories), fmt.Sprint(g.Stars), plain(g.Stars7d), plain(g.Stars30d), plain(g.PerDay7d)})
	}
	if t.CSV {
		out.columns = []string{t.By, "repositories", "stars", "stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"}
	}
	return t.print(out, trends)
}
