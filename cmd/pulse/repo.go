package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

type repoCommand struct {
	Name string `arg:"" help:"owner/name, or a repo_id, for a repository whose name another one has now."`
	Days int    `default:"30" help:"Days of the series, 2 to 366."`
	format
}

// Run shows one repository: each counter that has been read, day by day.
func (r *repoCommand) Run(ctx context.Context, p *place) error {
	if err := checkDays(r.Days); err != nil {
		return err
	}
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	found, err := hot.Repositories(ctx, conn, []string{r.Name}, r.Days)
	if err != nil {
		return err
	}
	s := found[0]
	newest, err := hot.NewestDay(ctx, conn)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("%s (%s, %s), %d days up to the newest reading; its own was %s UTC", s.Label(), s.Company, s.Language, r.Days, s.ObservedAt.Format("2006-01-02 15:04")),
		columns: []string{"Counter", "Now", "Days"}, right: []string{"Now"},
		fields: []string{"stars_delta_24h", "stars_delta_7d", "stars_per_day_7d"},
	}
	figures, err := hot.Figures(ctx, conn, s.RepoID, r.Days)
	if err != nil {
		return err
	}
	for _, f := range figures {
		shown, spark := "waits for a live sweep", ""
		if f.Now != nil {
			shown, spark = number(*f.Now), sparkline(f.Days)
		}
		out.shown = append(out.shown, table.Row{f.Counter, shown, spark})
		for i, v := range f.Days {
			out.plain = append(out.plain, []string{f.Counter, newest.AddDate(0, 0, i-r.Days+1).Format(time.DateOnly), plain(v)})
		}
	}
	if r.CSV {
		out.columns = []string{"counter", "day", "value"}
	}
	return r.print(out, struct {
		hot.Series
		LastDay  string       `json:"last_day"` // of each series
		Counters []hot.Figure `json:"counters"`
	}{s, newest.Format(time.DateOnly), figures})
}

// number shows a count without a fraction, a rate with one digit.
func number(v float64) string {
	if v == float64(int64(v)) {
		return count(int64(v))
	}
	return fmt.Sprintf("%.1f", v)
}
