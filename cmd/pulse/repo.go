package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

type repoCommand struct {
	Name string `arg:"" help:"owner/name, or a repo_id, for a repository whose name another one has now."`
	Days int    `default:"30" help:"Days of the series, 2 to 366."`
	format
}

// figure is one series of a repository.
type figure struct {
	Counter string     `json:"counter"`
	Now     *float64   `json:"now"`
	Days    []*float64 `json:"days"`
}

// Run shows one repository: each counter that has been read, day by day.
func (r *repoCommand) Run(ctx context.Context, p *place) error {
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	found, err := repositories(ctx, conn, []string{r.Name}, r.Days)
	if err != nil {
		return err
	}
	s := found[0]
	newest, err := newestDay(ctx, conn)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("%s (%s, %s), %d days up to the newest reading; its own was %s UTC", label(s.Name, s.RepoID, s.Former), s.Company, s.Language, r.Days, s.ObservedAt.Format("2006-01-02 15:04")),
		columns: []string{"Counter", "Now", "Days"}, right: []string{"Now"},
		fields: []string{"stars_delta_24h", "stars_delta_7d", "stars_per_day_7d"},
	}
	var figures []figure
	for _, counter := range []struct{ name, value string }{
		{"stars", "argMax(stars, (observed_at, revision))"}, {"net stars, 24 h", "argMax(stars_delta_24h, (observed_at, revision))"},
		{"stars a day, 7 d", "argMax(stars_per_day_7d, (observed_at, revision))"}, {"forks", "argMax(forks, (observed_at, revision))"},
		{"open issues", "argMax(open_issues, (observed_at, revision))"}, {"open pull requests", "argMax(open_prs, (observed_at, revision))"},
		{"merged pull requests", "argMax(merged_prs, (observed_at, revision))"}, {"commits", "argMax(commits_total, (observed_at, revision))"},
		{"releases", "argMax(releases, (observed_at, revision))"},
	} {
		days, err := daysOf(ctx, conn, r.Days, "toFloat64("+counter.value+")", "repo_id = ?", s.RepoID)
		if err != nil {
			return err
		}
		f := figure{Counter: counter.name, Now: last(days), Days: days}
		figures = append(figures, f)
		shown, spark := "waits for a live sweep", ""
		if f.Now != nil {
			shown, spark = number(*f.Now), sparkline(days)
		}
		out.shown = append(out.shown, table.Row{f.Counter, shown, spark})
		for i, v := range days {
			out.plain = append(out.plain, []string{f.Counter, newest.AddDate(0, 0, i-r.Days+1).Format(time.DateOnly), plain(v)})
		}
	}
	if r.CSV {
		out.columns = []string{"counter", "day", "value"}
	}
	return r.print(out, struct {
		rankedSeries
		LastDay  string   `json:"last_day"` // of each series
		Counters []figure `json:"counters"`
	}{s, newest.Format(time.DateOnly), figures})
}

// last is the newest value that is known.
func last(days []*float64) *float64 {
	for i := len(days) - 1; i >= 0; i-- {
		if days[i] != nil {
			return days[i]
		}
	}
	return nil
}

// number shows a count without a fraction, a rate with one digit.
func number(v float64) string {
	if v == float64(int64(v)) {
		return count(int64(v))
	}
	return fmt.Sprintf("%.1f", v)
}
