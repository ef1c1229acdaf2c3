package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

// hotStore opens the ClickHouse of the stack that is up.
func (p *place) hotStore() (driver.Conn, error) {
	env, err := p.home.ReadEnv()
	if err != nil {
		return nil, err
	}
	return sinkclickhouse.Open(env["CLICKHOUSE_URL"])
}

// standing is where a repository, an owner or a company stands, with the days
// that led there.
type standing struct {
	Name       string     `json:"name"`
	Company    string     `json:"company"`
	Language   string     `json:"language,omitempty"`
	Stars      int64      `json:"stars"`
	Forks      *int64     `json:"forks"`
	OpenIssues *int64     `json:"open_issues"`
	Stars7d    *int64     `json:"stars_delta_7d"`
	Stars30d   *int64     `json:"stars_delta_30d"`
	PerDay7d   *float64   `json:"stars_per_day_7d"`
	ObservedAt time.Time  `json:"observed_at"`
	Days       []*float64 `json:"days"` // the series, oldest first; null where nothing was read
}

// repositories reads the standing of some repositories, in the order asked for,
// each with its stars of the last days before the newest reading of all.
func repositories(ctx context.Context, conn driver.Conn, names []string, days int) ([]standing, error) {
	if days < 2 || days > 366 {
		return nil, errors.New("--days must be 2 to 366")
	}
	rows, err := conn.Query(ctx, `
		SELECT name_with_owner, ifNull(company, owner), ifNull(primary_language, ''), stars, forks, open_issues, stars_delta_7d, stars_delta_30d, stars_per_day_7d, observed_at,
			lower(name_with_owner) AS name_, repo_id
		FROM pulse.github_processed_repos FINAL WHERE name_ IN ?`, lowered(names))
	if err != nil {
		return nil, fmt.Errorf("read the repositories: %w", err)
	}
	defer rows.Close()
	found := map[string]standing{}
	ids := map[string]int64{}
	for rows.Next() {
		var s standing
		var name string
		var id int64
		if err := rows.Scan(&s.Name, &s.Company, &s.Language, &s.Stars, &s.Forks, &s.OpenIssues, &s.Stars7d, &s.Stars30d, &s.PerDay7d, &s.ObservedAt, &name, &id); err != nil {
			return nil, fmt.Errorf("read the repositories: %w", err)
		}
		found[name], ids[name] = s, id
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the repositories: %w", err)
	}
	var out []standing
	for _, name := range lowered(names) {
		s, ok := found[name]
		if !ok {
			return nil, fmt.Errorf("no repository %s has been observed: a name is owner/name", name)
		}
		if s.Days, err = daysOf(ctx, conn, days, "toFloat64(argMax(stars, (observed_at, revision)))", "repo_id = ?", ids[name]); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// daysOf reads one value for each of the last days, oldest first, up to the
// newest reading of all; a day that was not read is nil.
func daysOf(ctx context.Context, conn driver.Conn, days int, value, where string, args ...any) ([]*float64, error) {
	rows, err := conn.Query(ctx, `
		WITH (SELECT toDate(max(observed_at)) FROM pulse.github_metrics_timeseries) AS newest
		SELECT toInt32(dateDiff('day', toDate(t.observed_at), newest)) AS ago, `+value+`
		FROM pulse.github_metrics_timeseries AS t WHERE toDate(t.observed_at) > newest - `+fmt.Sprint(days)+` AND `+where+` GROUP BY ago`, args...)
	if err != nil {
		return nil, fmt.Errorf("read the days: %w", err)
	}
	defer rows.Close()
	out := make([]*float64, days)
	for rows.Next() {
		var ago *int32
		var v *float64
		if err := rows.Scan(&ago, &v); err != nil {
			return nil, fmt.Errorf("read the days: %w", err)
		}
		if ago != nil && *ago >= 0 && int(*ago) < days {
			out[days-1-int(*ago)] = v
		}
	}
	return out, rows.Err()
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}
