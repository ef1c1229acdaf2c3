package hot

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Kind is what repositories are grouped by.
type Kind string

// The kinds of groups.
const (
	Company  Kind = "company"
	Owner    Kind = "owner"
	Language Kind = "language"
)

// column is the expression by which a repository belongs to a group.
func (k Kind) column() string {
	return map[Kind]string{Company: "company", Owner: "owner", Language: "primary_language"}[k]
}

// Group is how the repositories of a group moved over a window, and its rank among the
// groups of its kind. Repositories that are out of date do not count.
type Group struct {
	Name              string   `json:"name"`
	Window            string   `json:"window" enum:"1h,24h,7d,30d"`
	Repositories      int64    `json:"repositories" doc:"Repositories read in the three days before the newest reading."`
	Measured          int64    `json:"measured" doc:"How many of them have a known rate."`
	Stars             int64    `json:"stars"`
	Forks             *int64   `json:"forks"`
	StarsDelta        *int64   `json:"stars_delta" doc:"Net stars over the window."`
	StarsPerDay       *float64 `json:"stars_per_day" doc:"By which groups are ranked."`
	StarsPerDayBefore *float64 `json:"stars_per_day_before" doc:"The same over the window before."`
	Rank              *int64   `json:"rank"`
	RankBefore        *int64   `json:"rank_before"`
	RankChange        *int64   `json:"rank_change" doc:"More than 0 is a rise."`
	ShareOfGrowth     *float64 `json:"share_of_growth" doc:"Of the net stars of all repositories, 0 to 1."`
}

// Groups reads the groups of a kind over a window from pulse.group_ranks, the fastest
// first; with a name, that group's over all windows.
func Groups(ctx context.Context, conn Reader, kind Kind, window, name string, limit int) ([]Group, error) {
	where, args := "period = ?", []any{string(kind), window}
	if name != "" {
		where, args = "lower(name) = lower(?)", []any{string(kind), name}
	}
	return list(ctx, conn, "read the groups", func(r driver.Rows, g *Group) error {
		return r.Scan(&g.Name, &g.Window, &g.Repositories, &g.Measured, &g.Stars, &g.Forks, &g.StarsDelta, &g.StarsPerDay, &g.StarsPerDayBefore, &g.Rank, &g.RankBefore, &g.RankChange, &g.ShareOfGrowth)
	}, `SELECT name, period, toInt64(repositories), toInt64(measured), stars, forks, stars_delta, stars_per_day, stars_per_day_before,
			CAST(rank, 'Nullable(Int64)'), CAST(rank_before, 'Nullable(Int64)'), rank_change, share_of_growth
		FROM pulse.group_ranks WHERE kind = ? AND `+where+`
		ORDER BY transform(period, ['1h', '24h', '7d', '30d'], [1, 2, 3, 4], 0), isNull(stars_per_day), stars_per_day DESC, name LIMIT ?`, append(args, limit)...)
}

// Member is an owner of a group.
type Member struct {
	Owner        string  `json:"owner"`
	Company      *string `json:"company"`
	Repositories int64   `json:"repositories" doc:"All that are known, those that are out of date too."`
}

// Members reads the owners of a group.
func Members(ctx context.Context, conn Reader, kind Kind, name string) ([]Member, error) {
	return list(ctx, conn, "read the owners", func(r driver.Rows, m *Member) error { return r.Scan(&m.Owner, &m.Company, &m.Repositories) },
		`SELECT toString(owner) AS o, max(CAST(company, 'Nullable(String)')), toInt64(count()) FROM pulse.github_processed_repos FINAL
		WHERE lower(ifNull(`+kind.column()+`, '')) = lower(?) GROUP BY o ORDER BY o LIMIT 10000`, name)
}
