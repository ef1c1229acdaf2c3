package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

type topCommand struct {
	Window string `default:"7d" enum:"1h,24h,7d,30d" help:"Over which time: 1h, 24h, 7d or 30d."`
	Each   int    `default:"5" help:"How many repositories of each company."`
	Days   int    `default:"30" help:"How many days the sparkline shows, 2 to 366."`
	format
}

// Run reads the ranking from ClickHouse.
func (t *topCommand) Run(ctx context.Context, p *place) error {
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	movers, err := topMovers(ctx, conn, t.Window, t.Each)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("Fastest movers per company over %s (net stars; ranked by stars a day)", t.Window),
		columns: []string{"Company", "Repository", "Language", "Stars", "Net", "A day", "Stars by day"}, right: []string{"Stars", "Net", "A day"},
		fields: []string{"stars_delta_" + t.Window, "stars_per_day_" + t.Window},
	}
	if t.CSV {
		out.columns = []string{"company", "repository", "language", "stars", "stars_delta_" + t.Window, "stars_per_day_" + t.Window, "observed_at"}
	}
	names := make([]string, len(movers))
	for i, m := range movers {
		names[i] = m.Repository
		out.plain = append(out.plain, []string{m.Company, m.Repository, m.Language, fmt.Sprint(m.Stars), plain(m.Delta), plain(m.PerDay), m.ObservedAt.Format(time.RFC3339)})
	}
	if t.JSON || t.CSV || t.Explain || len(movers) == 0 {
		return t.print(out, movers)
	}
	standings, err := repositories(ctx, conn, names, t.Days)
	if err != nil {
		return err
	}
	for i, m := range movers {
		out.shown = append(out.shown, table.Row{m.Company, m.Repository, m.Language, count(m.Stars), signed(m.Delta), rate(m.PerDay), sparkline(standings[i].Days)})
	}
	return t.print(out, movers)
}

// mover is one repository in a ranking.
type mover struct {
	Company    string    `json:"company"`
	Repository string    `json:"repository"`
	Language   string    `json:"language"`
	Stars      int64     `json:"stars"`
	Delta      *int64    `json:"delta"`   // net stars over the window
	PerDay     *float64  `json:"per_day"` // by which it is ranked
	ObservedAt time.Time `json:"observed_at"`
}

// topMovers ranks the repositories of each company by stars per day over a
// window. Only what was seen in the three days before the newest observation
// takes part: an old rate of a repository that is no longer read is no news.
func topMovers(ctx context.Context, conn driver.Conn, window string, each int) ([]mover, error) {
	rows, err := conn.Query(ctx, `
		SELECT ifNull(company, owner) AS company_, name_with_owner, ifNull(primary_language, ''), stars, stars_delta_`+window+`, stars_per_day_`+window+` AS rate, observed_at
		FROM pulse.github_processed_repos FINAL
		WHERE observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY
		ORDER BY company_, rate DESC NULLS LAST, stars DESC, repo_id
		LIMIT ? BY company_`, each)
	if err != nil {
		return nil, fmt.Errorf("rank the repositories: %w", err)
	}
	defer rows.Close()
	var out []mover
	for rows.Next() {
		var m mover
		if err := rows.Scan(&m.Company, &m.Repository, &m.Language, &m.Stars, &m.Delta, &m.PerDay, &m.ObservedAt); err != nil {
			return nil, fmt.Errorf("rank the repositories: %w", err)
		}
		out = append(out, m)
	}
	return out, rows.Err()
}

func printMovers(window string, movers []mover) {
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
		t.AppendRow(table.Row{company, m.Repository, m.Language, count(m.Stars), signed(m.Delta), rate(m.PerDay)})
	}
	t.Render()
}
