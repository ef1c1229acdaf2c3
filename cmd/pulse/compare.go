package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
)

type compareCommand struct {
	Names []string `arg:"" help:"Two repositories or more, by owner/name or repo_id."`
	Days  int      `default:"30" help:"Days of the series, 2 to 366; the first reading is 100."`
	format
}

// compared is one repository beside others.
type compared struct {
	rankedSeries
	Index         *float64 `json:"index"`           // stars now, where those of the first day read are 100
	ShareOfGrowth *float64 `json:"share_of_growth"` // of the net stars over 30 days of all that grew, 0 to 1
}

// Run shows repositories side by side.
func (c *compareCommand) Run(ctx context.Context, p *place) error {
	if len(c.Names) < 2 {
		return errors.New("compare needs two repositories or more")
	}
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	found, err := repositories(ctx, conn, c.Names, c.Days)
	if err != nil {
		return err
	}
	var grown int64
	for _, s := range found {
		if s.Stars30d != nil && *s.Stars30d > 0 {
			grown += *s.Stars30d
		}
	}
	out := sheet{
		title:   fmt.Sprintf("%d repositories, %d days up to the newest reading; index: the first day read = 100", len(found), c.Days),
		columns: []string{"Repository", "Stars", "7 d", "30 d", "A day", "Growth", "Index", "Stars by day"},
		right:   []string{"Stars", "7 d", "30 d", "A day", "Growth", "Index"},
		fields:  []string{"stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"},
	}
	var all []compared
	for _, s := range found {
		one := compared{rankedSeries: s}
		if first, now := first(s.Days), last(s.Days); first != nil && *first != 0 {
			index := 100 * *now / *first
			one.Index = &index
		}
		if s.Stars30d != nil && *s.Stars30d > 0 {
			share := float64(*s.Stars30d) / float64(grown)
			one.ShareOfGrowth = &share
		}
		all = append(all, one)
		index, share := "–", "–"
		if one.Index != nil {
			index = fmt.Sprintf("%.2f", *one.Index)
		}
		if one.ShareOfGrowth != nil {
			share = fmt.Sprintf("%.0f %%", 100**one.ShareOfGrowth)
		}
		out.shown = append(out.shown, table.Row{label(s.Name, s.RepoID, s.Former), count(s.Stars), signed(s.Stars7d), signed(s.Stars30d), rate(s.PerDay7d), share, index, sparkline(s.Days)})
		out.plain = append(out.plain, []string{s.Name, fmt.Sprint(s.Stars), plain(s.Stars7d), plain(s.Stars30d), plain(s.PerDay7d), plain(one.ShareOfGrowth), plain(one.Index), fmt.Sprint(s.RepoID)})
	}
	if c.CSV {
		out.columns = []string{"repository", "stars", "stars_delta_7d", "stars_delta_30d", "stars_per_day_7d", "share_of_growth", "index", "repo_id"}
	}
	return c.print(out, all)
}

// first is the oldest value that is known.
func first(days []*float64) *float64 {
	for _, v := range days {
		if v != nil {
			return v
		}
	}
	return nil
}
