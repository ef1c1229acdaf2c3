package hot

import "context"

// Figure is one series of a repository.
type Figure struct {
	Counter string     `json:"counter"`
	Now     *float64   `json:"now"` // the newest value that is known
	Days    []*float64 `json:"days"`
}

// Figures reads each counter of a repository on the last days.
func Figures(ctx context.Context, conn Reader, id int64, days int) ([]Figure, error) {
	var figures []Figure
	for _, counter := range []struct{ name, column string }{
		{"stars", "stars"}, {"net stars, 24 h", "stars_delta_24h"}, {"stars a day, 7 d", "stars_per_day_7d"}, {"forks", "forks"},
		{"open issues", "open_issues"}, {"open pull requests", "open_prs"}, {"merged pull requests", "merged_prs"}, {"commits", "commits_total"},
		{"releases", "releases"},
	} {
		values, err := daysOf(ctx, conn, days, "toFloat64(argMax("+counter.column+", (observed_at, revision)))", "repo_id = ?", id)
		if err != nil {
			return nil, err
		}
		figures = append(figures, Figure{Counter: counter.name, Now: last(values), Days: values})
	}
	return figures, nil
}
