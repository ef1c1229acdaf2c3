package hot

import (
	"context"

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
		if trends[i].Days, err = daysOf(ctx, conn, days, "sum(stars_per_day_7d)", group+" = ?", trends[i].Group); err != nil {
			return nil, err
		}
	}
	return trends, nil
}
