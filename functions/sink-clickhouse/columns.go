package sinkclickhouse

import (
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/signal"
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
// of one observation the newest restatement.
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

// columnsOf makes the columns of fields, which are in a part of the row.
func columnsOf[R, P any](fields []field.Field[P], part func(*R) *P) []column[R] {
	out := make([]column[R], len(fields))
	for i, f := range fields {
		switch at := f.At.(type) {
		case func(*P) *int64:
			out[i] = col(f.Name, func(r *R) int64 { return *at(part(r)) })
		case func(*P) **int64:
			out[i] = col(f.Name, func(r *R) *int64 { return *at(part(r)) })
		case func(*P) *float64:
			out[i] = col(f.Name, func(r *R) float64 { return *at(part(r)) })
		case func(*P) **float64:
			out[i] = col(f.Name, func(r *R) *float64 { return *at(part(r)) })
		case func(*P) *bool:
			out[i] = col(f.Name, func(r *R) bool { return *at(part(r)) })
		case func(*P) **bool:
			out[i] = col(f.Name, func(r *R) *bool { return *at(part(r)) })
		case func(*P) *time.Time:
			out[i] = col(f.Name, func(r *R) time.Time { return *at(part(r)) })
		case func(*P) **time.Time:
			out[i] = col(f.Name, func(r *R) *time.Time { return *at(part(r)) })
		case func(*P) *string:
			out[i] = col(f.Name, func(r *R) string { return *at(part(r)) })
		case func(*P) **string:
			out[i] = col(f.Name, func(r *R) *string { return *at(part(r)) })
		case func(*P) *[]string:
			out[i] = col(f.Name, func(r *R) []string { return *at(part(r)) })
		case func(*P) *[]event.Language:
			out[i] = col(f.Name, func(r *R) []map[string]any {
				all := *at(part(r))
				entries := make([]map[string]any, len(all))
				for i, l := range all {
					entries[i] = map[string]any{"name": l.Name, "bytes": l.Bytes}
				}
				return entries
			})
		}
	}
	return out
}

// stateColumns are the columns of github_processed_repos.
func stateColumns() []column[row] {
	return append(processedColumns(repo.Fields()), col("version", func(r *row) uint64 { return r.version() }))
}

// dailyColumns are the columns of github_daily. It has some rates, because it has
// not all that they follow from.
func dailyColumns() []column[row] {
	cols := []column[row]{
		col("day", func(r *row) time.Time { return r.ObservedAt.UTC().Truncate(24 * time.Hour) }),
		col("version", func(r *row) uint64 { return r.version() }),
	}
	for _, c := range shared() {
		switch c.name {
		case "repo_id", "stars", "forks", "watchers", "open_issues", "closed_issues", "open_prs", "merged_prs", "closed_prs", "releases", "commits_total",
			"stars_delta_24h", "forks_delta_24h", "open_issues_delta_24h", "pushed_at", "observed_at":
			cols = append(cols, c)
		}
	}
	for _, rate := range velocity.Rates() {
		switch rate.Name {
		case "stars_per_day_24h", "stars_per_day_7d", "stars_per_day_30d", "open_issues_per_day_7d":
			cols = append(cols, col(rate.Name, func(r *row) *float64 { return rate.Of(&r.Velocities, r.ObservedAt) }))
		}
	}
	return cols
}

// pushColumns are the columns of github_pushes.
func pushColumns() []column[push] {
	return []column[push]{
		col("repo_id", func(p *push) int64 { return p.repo }),
		col("pushed_at", (*push).time),
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
	return processedColumns(slices.DeleteFunc(repo.Fields(), func(f field.Field[repo.Observation]) bool { return f.Detail }))
}

// processedColumns are the columns of some fields of an observation, and of all
// that a processed one has besides.
func processedColumns(fields []field.Field[repo.Observation]) []column[row] {
	cols := append(columnsOf(fields, func(r *row) *repo.Observation { return &r.Observation }),
		columnsOf(event.StatementFields(), func(r *row) *event.RepoProcessed { return r.RepoProcessed })...)
	for i, d := range velocity.Definitions() {
		f := velocity.Field(i)
		switch d.Kind {
		case field.Int:
			cols = append(cols, col(d.Name, func(r *row) *int64 { return r.Int(f) }))
		case field.Float:
			cols = append(cols, col(d.Name, func(r *row) *float64 { return r.Float(f) }))
		case field.Time:
			cols = append(cols, col(d.Name, func(r *row) *time.Time { return r.Time(f) }))
		case field.Bool:
			cols = append(cols, col(d.Name, func(r *row) *bool { return r.Bool(f) }))
		}
	}
	return cols
}

// sweepColumns are the columns of sweeps.
func sweepColumns() []column[event.OwnerSwept] {
	return columnsOf(event.SweptFields(), func(s *event.OwnerSwept) *event.OwnerSwept { return s })
}

// eventColumns are the columns of github_events.
func eventColumns() []column[event.GitHubEvent] {
	return columnsOf(feed.Fields(), func(e *event.GitHubEvent) *event.GitHubEvent { return e })
}

// feedReadColumns are the columns of github_feed_reads.
func feedReadColumns() []column[event.FeedRead] {
	return columnsOf(feed.ReadingFields(), func(l *event.FeedRead) *event.FeedRead { return l })
}

// signalColumns are the columns of github_signals.
func signalColumns() []column[event.Signal] {
	return columnsOf(signal.Fields(), func(s *event.Signal) *event.Signal { return s })
}
