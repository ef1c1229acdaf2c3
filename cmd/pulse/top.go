package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

type topCommand struct {
	Window string `default:"7d" enum:"1h,24h,7d,30d" help:"Window: 1h, 24h, 7d or 30d."`
	Each   int    `default:"5" help:"Number of repositories of each company."`
	Days   int    `default:"30" help:"Days of the sparkline, 2 to 366."`
	format
}

// maxEach bounds the repositories of one company in a ranking.
const maxEach = 1000

// Run reads the ranking from ClickHouse.
func (t *topCommand) Run(ctx context.Context, p *place) error {
	if t.Each < 1 || t.Each > maxEach {
		return fmt.Errorf("--each %d: want 1 to %d", t.Each, maxEach)
	}
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
		out.columns = []string{"company", "repository", "language", "stars", "stars_delta_" + t.Window, "stars_per_day_" + t.Window, "observed_at", "repo_id"}
	}
	for _, m := range movers {
		out.plain = append(out.plain, []string{m.Company, m.Repository, m.Language, fmt.Sprint(m.Stars), plain(m.Delta), plain(m.PerDay), m.ObservedAt.Format(time.RFC3339), fmt.Sprint(m.RepoID)})
	}
	if t.JSON || t.CSV || t.Explain || len(movers) == 0 {
		return t.print(out, movers)
	}
	for _, m := range movers {
		days, err := starsOf(ctx, conn, m.RepoID, t.Days)
		if err != nil {
			return err
		}
		out.shown = append(out.shown, table.Row{m.Company, m.label(), m.Language, count(m.Stars), signed(m.Delta), rate(m.PerDay), sparkline(days)})
	}
	return t.print(out, movers)
}

// mover is one repository in a ranking.
type mover struct {
	Company    string
	Repository string
	RepoID     int64
	Former     bool // another repository has its name now
	Language   string
	Stars      int64
	Window     string
	Delta      *int64   // net stars over the window
	PerDay     *float64 // by which it is ranked
	ObservedAt time.Time
}

// MarshalJSON names the figures as every table and command does.
func (m mover) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"company": m.Company, "repository": m.Repository, "repo_id": m.RepoID, "language": m.Language, "stars": m.Stars,
		"stars_delta_" + m.Window: m.Delta, "stars_per_day_" + m.Window: m.PerDay, "observed_at": m.ObservedAt,
	})
}

// label is the repository's name, with its id if another has that name now.
func (m mover) label() string { return label(m.Repository, m.RepoID, m.Former) }

// topMovers ranks the repositories of each company by stars per day over a
// window. Only repositories observed in the three days before the newest
// observation take part: a rate of one that is no longer read is out of date.
func topMovers(ctx context.Context, conn driver.Conn, window string, each int) ([]mover, error) {
	if empty, err := sinkclickhouse.Empty(ctx, conn); err != nil || empty {
		return nil, err
	}
	rows, err := conn.Query(ctx, `
		SELECT ifNull(company, owner) AS company_, name_with_owner, repo_id, former, ifNull(primary_language, ''), stars, stars_delta_`+window+`, stars_per_day_`+window+` AS rate, observed_at
		FROM `+standingRepos+`
		WHERE observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY
		ORDER BY company_, rate DESC NULLS LAST, stars DESC, repo_id
		LIMIT ? BY company_`, each)
	if err != nil {
		return nil, fmt.Errorf("rank the repositories: %w", err)
	}
	defer rows.Close()
	var out []mover
	for rows.Next() {
		m := mover{Window: window}
		if err := rows.Scan(&m.Company, &m.Repository, &m.RepoID, &m.Former, &m.Language, &m.Stars, &m.Delta, &m.PerDay, &m.ObservedAt); err != nil {
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
		t.AppendRow(table.Row{company, m.label(), m.Language, count(m.Stars), signed(m.Delta), rate(m.PerDay)})
	}
	t.Render()
}
