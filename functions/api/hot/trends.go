package hot

import (
	"context"
	"fmt"
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
	if empty, err := Empty(ctx, conn); err != nil || empty {
		return nil, err
	}
	group := map[string]string{"company": "ifNull(company, owner)", "owner": "toString(owner)", "language": "ifNull(primary_language, 'none')"}[by]
	rows, err := conn.Query(ctx, `
		SELECT `+group+` AS group_, count(), sum(stars), sum(stars_delta_7d), sum(stars_delta_30d), sum(stars_per_day_7d) AS rate
		FROM pulse.github_processed_repos FINAL
		WHERE `+current+`
		GROUP BY group_ ORDER BY rate DESC NULLS LAST, group_ LIMIT ?`, groups)
	if err != nil {
		return nil, fmt.Errorf("rank the groups: %w", err)
	}
	defer rows.Close()
	var trends []Trend
	for rows.Next() {
		var g Trend
		if err := rows.Scan(&g.Group, &g.Repositories, &g.Stars, &g.Stars7d, &g.Stars30d, &g.PerDay7d); err != nil {
			return nil, fmt.Errorf("rank the groups: %w", err)
		}
		trends = append(trends, g)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("rank the groups: %w", err)
	}
	for i := range trends {
		if trends[i].Days, err = daysOf(ctx, conn, days, "sum(stars_per_day_7d)", group+" = ?", trends[i].Group); err != nil {
			return nil, err
		}
	}
	return trends, nil
}
