package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

type compareCommand struct {
	Names []string `arg:"" help:"Two repositories or more, by owner/name or repo_id."`
	Days  int      `default:"30" help:"Days of the series, 2 to 366; the first reading is 100."`
	format
}

// Run shows repositories side by side.
func (c *compareCommand) Run(ctx context.Context, p *place) error {
	if len(c.Names) < 2 {
		return errors.New("compare needs two repositories or more")
	}
	if err := checkDays(c.Days); err != nil {
		return err
	}
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	found, err := hot.Repositories(ctx, conn, c.Names, c.Days)
	if err != nil {
		return err
	}
	out := sheet{
		title:   fmt.Sprintf("%d repositories, %d days up to the newest reading; index: the first day read = 100", len(found), c.Days),
		columns: []string{"Repository", "Stars", "7 d", "30 d", "A day", "Growth", "Index", "Stars by day"},
		right:   []string{"Stars", "7 d", "30 d", "A day", "Growth", "Index"},
		fields:  []string{"stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"},
	}
	all := hot.Compare(found)
	for _, one := range all {
		index, share := "–", "–"
		if one.Index != nil {
			index = fmt.Sprintf("%.2f", *one.Index)
		}
		if one.ShareOfGrowth != nil {
			share = fmt.Sprintf("%.0f %%", 100**one.ShareOfGrowth)
		}
		out.shown = append(out.shown, table.Row{one.Label(), count(one.Stars), signed(one.Stars7d), signed(one.Stars30d), rate(one.PerDay7d), share, index, sparkline(one.Days)})
		out.plain = append(out.plain, []string{one.Name, fmt.Sprint(one.Stars), plain(one.Stars7d), plain(one.Stars30d), plain(one.PerDay7d), plain(one.ShareOfGrowth), plain(one.Index), fmt.Sprint(one.RepoID)})
	}
	if c.CSV {
		out.columns = []string{"repository", "stars", "stars_delta_7d", "stars_delta_30d", "stars_per_day_7d", "share_of_growth", "index", "repo_id"}
	}
	return c.print(out, all)
}
