package hot

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Trend is how fast a group of repositories moves.
type Trend struct {
	Group        string     `json:"group"`
	Repositories uint64     `json:"repositories"`
	Stars        int64      `json:"stars"`
	Stars7d      *int64     `json:"stars_delta_7d"`
	Stars30d     *int64     `json:"stars_delta_30d"`
	PerDay7d     *float64   `json:"stars_per_day_7d"`
	Days         []*float64 `json:"days"` // net stars a day over 7 days, summed over the repositories read that day
}

// Trends ranks the companies, owners or languages by stars a day, the fastest first,
// each with its last days. by is company, owner or language.
func Trends(ctx context.Context, conn Reader, by string, days, groups int) ([]Trend, error) {
	group := map[string]string{"company": "ifNull(company, owner)", "owner": "toString(owner)", "language": "ifNull(primary_language, 'none')"}[by]
	trends, err := list(ctx, conn, "rank the groups", func(r driver.Rows, g *Trend) error {
		return r.Scan(&g.Group, &g.Repositories, &g.Stars, &g.Stars7d, &g.Stars30d, &g.PerDay7d)
	}, `
		SELECT `+group+` AS group_, count(), sum(stars), sum(stars_delta_7d), sum(stars_delta_30d), sum(stars_per_day_7d) AS rate
		FROM pulse.github_processed_repos FINAL
		WHERE `+current+`
		GROUP BY group_ ORDER BY rate DESC NULLS LAST, group_ LIMIT ?`, groups)
	if err != nil {
		return nil, err
	}
	for i := range trends {
		if trends[i].Days, err = ratesOf(ctx, conn, days, group, trends[i].Group); err != nil {
			return nil, err
		}
	}
	return trends, nil
}

// ratesOf are the rates of a group on each day, by the last reading of each of its
// repositories on that day.
func ratesOf(ctx context.Context, conn Reader, days int, group, name string) ([]*float64, error) {
	read, err := list(ctx, conn, "read the rates of the days", func(r driver.Rows, d *dayValue) error { return r.Scan(&d.ago, &d.value) }, `
		WITH assumeNotNull((SELECT toDate(max(observed_at)) FROM pulse.github_processed_repos)) AS newest
		SELECT toNullable(toInt32(dateDiff('day', day, newest))) AS ago, sum(stars_per_day_7d)
		FROM (SELECT repo_id, day, stars_per_day_7d FROM pulse.github_daily FINAL WHERE day > newest - `+fmt.Sprint(days)+`)
		WHERE repo_id IN (SELECT repo_id FROM pulse.github_processed_repos FINAL WHERE `+group+` = ?)
		GROUP BY ago`, name)
	return byDay(read, days), err
}
