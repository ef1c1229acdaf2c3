package sinkclickhouse

import (
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// row is one processed observation and the record it came from.
type row struct {
	*event.RepoProcessed
	topicID   string
	partition int32
	offset    int64
	mayRepeat bool
}

// version orders the rows of one repository: the newest observation wins, and
// of one observation the newest re-statement.
func (r *row) version() uint64 {
	return uint64(r.ObservedAt.UnixMilli())<<16 | uint64(min(r.Revision, 1<<16-1))
}

// column is one column of a table and how its values are taken from rows.
type column[R any] struct {
	name   string
	append func(to driver.BatchColumn, rows []*R) error
}

// col makes a column of any type from a getter. What is appended is copied, so
// one slice serves all rows of an insert.
func col[R, V any](name string, get func(*R) V) column[R] {
	var values []V
	return column[R]{name, func(to driver.BatchColumn, rows []*R) error {
		values = values[:0]
		for _, r := range rows {
			values = append(values, get(r))
		}
		return to.Append(values)
	}}
}

// stateColumns are the columns of github_processed_repos.
func stateColumns() []column[row] {
	cols := append(shared(),
		col("node_id", func(r *row) string { return r.NodeID }),
		col("name", func(r *row) string { return r.Name }),
		col("description", func(r *row) *string { return r.Description }),
		col("languages", func(r *row) []map[string]any {
			out := make([]map[string]any, len(r.Languages))
			for i, l := range r.Languages {
				out[i] = map[string]any{"name": l.Name, "bytes": l.Bytes}
			}
			return out
		}),
		col("topics", func(r *row) []string { return r.Topics }),
		col("license", func(r *row) *string { return r.License }),
		col("default_branch", func(r *row) *string { return r.DefaultBranch }),
		col("updated_at", func(r *row) *time.Time { return r.UpdatedAt }),
		col("version", func(r *row) uint64 { return r.version() }),
	)
	return cols
}

// dailyColumns are the columns of github_daily.
func dailyColumns() []column[row] {
	cols := []column[row]{
		col("day", func(r *row) time.Time { return r.ObservedAt.UTC().Truncate(24 * time.Hour) }),
		col("version", func(r *row) uint64 { return r.version() }),
	}
	for _, c := range shared() {
		switch c.name {
		case "repo_id", "stars", "forks", "watchers", "open_issues", "closed_issues", "open_prs", "merged_prs", "closed_prs", "releases", "commits_total",
			"stars_delta_24h", "forks_delta_24h", "open_issues_delta_24h", "stars_per_day_24h", "stars_per_day_7d", "stars_per_day_30d", "open_issues_per_day_7d",
			"pushed_at", "observed_at":
			cols = append(cols, c)
		}
	}
	return cols
}

// pushColumns are the columns of github_pushes.
func pushColumns() []column[push] {
	return []column[push]{
		col("repo_id", func(p *push) int64 { return p.repo }),
		col("pushed_at", func(p *push) time.Time { return time.UnixMilli(p.at).UTC() }),
	}
}

// seriesColumns are the columns of github_metrics_timeseries.
func seriesColumns() []column[row] {
	return append(shared(),
		col("origin_topic_id", func(r *row) string { return r.topicID }),
		col("origin_partition", func(r *row) int32 { return r.partition }),
		col("origin_offset", func(r *row) int64 { return r.offset }),
	)
}

// shared are the columns that both tables of repositories have.
func shared() []column[row] {
	cols := []column[row]{
		col("repo_id", func(r *row) int64 { return r.ID }),
		col("name_with_owner", func(r *row) string { return r.NameWithOwner }),
		col("owner", func(r *row) string { return r.Owner }),
		col("owner_type", func(r *row) string { return r.OwnerType }),
		col("company", func(r *row) *string { return r.Company }),
		col("primary_language", func(r *row) *string { return r.PrimaryLanguage }),
		col("is_fork", func(r *row) bool { return r.IsFork }),
		col("is_archived", func(r *row) bool { return r.IsArchived }),
		col("created_at", func(r *row) *time.Time { return r.CreatedAt }),
		col("pushed_at", func(r *row) *time.Time { return r.PushedAt }),
		col("stars", func(r *row) int64 { return r.Stars }),
		col("forks", func(r *row) *int64 { return r.Forks }),
		col("watchers", func(r *row) *int64 { return r.Watchers }),
		col("open_issues", func(r *row) *int64 { return r.OpenIssues }),
		col("closed_issues", func(r *row) *int64 { return r.ClosedIssues }),
		col("open_prs", func(r *row) *int64 { return r.OpenPRs }),
		col("merged_prs", func(r *row) *int64 { return r.MergedPRs }),
		col("closed_prs", func(r *row) *int64 { return r.ClosedPRs }),
		col("discussions", func(r *row) *int64 { return r.Discussions }),
		col("releases", func(r *row) *int64 { return r.Releases }),
		col("latest_release", func(r *row) *string { return r.LatestRelease }),
		col("latest_release_at", func(r *row) *time.Time { return r.LatestReleaseAt }),
		col("commits_total", func(r *row) *int64 { return r.CommitsTotal }),
		col("disk_kb", func(r *row) *int64 { return r.DiskKB }),
		col("observed_at", func(r *row) time.Time { return r.ObservedAt }),
		col("sweep_id", func(r *row) string { return r.SweepID }),
		col("source", func(r *row) string { return r.Source }),
		col("processed_at", func(r *row) time.Time { return r.ProcessedAt }),
		col("revision", func(r *row) int64 { return r.Revision }),
		col("late", func(r *row) bool { return r.Late }),
	}
	for i, d := range velocity.Definitions() {
		f := velocity.Field(i)
		switch f.Kind() {
		case velocity.Count:
			cols = append(cols, col(d.Name, func(r *row) *int64 { return r.Int(f) }))
		case velocity.Rate:
			cols = append(cols, col(d.Name, func(r *row) *float64 { return r.Float(f) }))
		case velocity.Moment:
			cols = append(cols, col(d.Name, func(r *row) *time.Time { return r.Time(f) }))
		case velocity.Flag:
			cols = append(cols, col(d.Name, func(r *row) *bool { return r.Bool(f) }))
		}
	}
	return cols
}

// sweepColumns are the columns of sweeps.
func sweepColumns() []column[event.OwnerSwept] {
	type s = event.OwnerSwept
	return []column[s]{
		col("sweep_id", func(r *s) string { return r.SweepID }),
		col("owner", func(r *s) string { return r.Owner }),
		col("status", func(r *s) string { return r.Status }),
		col("started_at", func(r *s) time.Time { return r.StartedAt }),
		col("finished_at", func(r *s) time.Time { return r.FinishedAt }),
		col("expected", func(r *s) *int64 { return r.Expected }),
		col("seen", func(r *s) int64 { return r.Seen }),
		col("new", func(r *s) *int64 { return r.New }),
		col("renamed", func(r *s) *int64 { return r.Renamed }),
		col("gone", func(r *s) *int64 { return r.Gone }),
		col("unanswered", func(r *s) int64 { return r.Unanswered }),
		col("pages", func(r *s) int64 { return r.Pages }),
		col("killed_pages", func(r *s) int64 { return r.KilledPages }),
		col("points", func(r *s) int64 { return r.Points }),
		col("seconds", func(r *s) float64 { return r.Seconds }),
		col("reason", func(r *s) *string { return r.Reason }),
	}
}
