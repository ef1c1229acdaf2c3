package hot

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Flow is how work goes through some repositories over a window: how long it waits,
// how much of it there is, and when it is done.
type Flow struct {
	AsOf     *time.Time    `json:"as_of" doc:"The newest event or reading of a feed of all repositories: the window ends there. null if there is none."`
	Days     int64         `json:"days" doc:"The window, back from as_of."`
	Times    []WaitingTime `json:"times"`
	Items    []Throughput  `json:"items"`
	Gross    []Gross       `json:"gross"`
	Hours    []WeekHour    `json:"hours" doc:"Hours of the week in which nothing was pushed or released are left out."`
	Coverage *Covered      `json:"coverage,omitempty" doc:"How many events of the window are stored; left out where no counter was read beside them."`
}

// Rows implements table.Rows.
func (f Flow) Rows() any { return f.Times }

// WaitingTime is how long the issues and pull requests that people opened in the window
// waited for something. Those that wait still, or were closed before it came, are
// counted for as long as they were seen to wait (Kaplan and Meier's estimator), so that
// a wait that has not ended does not pass for a short one. A pull request that was
// closed unmerged waits for its merge for ever. Those whose opening no stored event
// says have no place in it: unknown_begin counts them.
type WaitingTime struct {
	Measure       string   `json:"measure" enum:"issue_first_response,issue_close,pull_request_first_response,pull_request_first_review,pull_request_merge,pull_request_close" doc:"first_response: of a person other than the author, by a comment, a review, or by closing or merging it."`
	Items         int64    `json:"items" doc:"Opened in the window, by a known author who is a person."`
	Ended         int64    `json:"ended" doc:"Those of them whose wait has ended."`
	UnknownBegin  int64    `json:"unknown_begin" doc:"Of this kind, with an event in the window: those that were begun before the feed was read, or whose opening was lost."`
	MedianSeconds *float64 `json:"median_seconds" doc:"Half have waited no longer; null while fewer than half of the waits have ended."`
	P90Seconds    *float64 `json:"p90_seconds" doc:"Nine of ten have waited no longer; null while fewer have ended."`
}

// Throughput counts what was done to issues or pull requests in the window, by anybody.
type Throughput struct {
	Kind     string `json:"kind" enum:"issue,pull_request"`
	Opened   int64  `json:"opened"`
	Closed   int64  `json:"closed" doc:"Without merging."`
	Merged   int64  `json:"merged"`
	Reopened int64  `json:"reopened"`
}

// Gross is a counter of what people do and take back: its events beside its change.
type Gross struct {
	Counter string `json:"counter" enum:"stars,forks"`
	Gained  int64  `json:"gained" doc:"Events: what was given, not less what was taken back."`
	Net     *int64 `json:"net" doc:"Change of the counter from its first to its last reading in the window; null if it was not read on two days."`
}

// WeekHour is an hour of the week, UTC.
type WeekHour struct {
	Weekday  int64 `json:"weekday" doc:"1 is Monday."`
	Hour     int64 `json:"hour"`
	Pushes   int64 `json:"pushes"`
	Releases int64 `json:"releases"`
}

// FlowOf reads how work goes through the repositories of a scope over a window of some
// days.
func FlowOf(ctx context.Context, conn Reader, scope Scope, days int) (f Flow, err error) {
	f.Days, f.Times, f.Items, f.Gross, f.Hours = int64(days), []WaitingTime{}, []Throughput{}, []Gross{}, []WeekHour{}
	if f.AsOf, err = EventsAsOf(ctx, conn); err != nil || f.AsOf == nil {
		return f, err
	}
	t, args := scope.terms(*f.AsOf, days)
	f.Times, err = list(ctx, conn, "read how long work waits", func(r driver.Rows, w *WaitingTime) error {
		var part string
		return r.Scan(&part, &w.Measure, &w.Items, &w.Ended, &w.UnknownBegin, &w.MedianSeconds, &w.P90Seconds)
	}, WaitingTimesQuery(t), args...)
	if err != nil {
		return f, err
	}
	f.Items, err = list(ctx, conn, "count what was done", func(r driver.Rows, p *Throughput) error {
		var part string
		return r.Scan(&part, &p.Kind, &p.Opened, &p.Closed, &p.Merged, &p.Reopened)
	}, ThroughputQuery(t), args...)
	if err != nil {
		return f, err
	}
	f.Gross, err = list(ctx, conn, "read what was gained", func(r driver.Rows, g *Gross) error { return r.Scan(&g.Counter, &g.Gained, &g.Net) },
		GrossQuery(t), append(args, args...)...)
	if err != nil {
		return f, err
	}
	f.Hours, err = list(ctx, conn, "read the hours of the week", func(r driver.Rows, h *WeekHour) error {
		return r.Scan(&h.Weekday, &h.Hour, &h.Pushes, &h.Releases)
	}, WeekHoursQuery(t), args...)
	if err != nil {
		return f, err
	}
	f.Coverage, err = coverageOf(ctx, conn, scope, *f.AsOf, days)
	return f, err
}

// ThroughputQuery counts what was done to issues and pull requests in the window.
func ThroughputQuery(t Terms) string {
	return `SELECT ` + t.By + ` AS part, if(event_type = 'IssuesEvent', 'issue', 'pull_request') AS kind, toInt64(countIf(action = 'opened')) AS opened, toInt64(countIf(action = 'closed')) AS closed,
  toInt64(countIf(action = 'merged')) AS merged, toInt64(countIf(action = 'reopened')) AS reopened
FROM pulse.github_events WHERE event_type IN ('IssuesEvent', 'PullRequestEvent') AND created_at > ` + t.since() + ` AND ` + t.Where + `
GROUP BY part, kind ORDER BY part, kind`
}

// GrossQuery reads what stars and forks were given in the window, beside the change of
// their counters. It has Where twice.
func GrossQuery(t Terms) string {
	return `SELECT e.counter AS counter, e.gained AS gained, n.net AS net FROM (
  SELECT counter, toInt64(countIf(event_type = event)) AS gained FROM pulse.github_events
  ARRAY JOIN ['stars', 'forks'] AS counter, ['WatchEvent', 'ForkEvent'] AS event WHERE event_type IN ('WatchEvent', 'ForkEvent') AND created_at > ` + t.since() + ` AND ` + t.Where + ` GROUP BY counter
) AS e LEFT JOIN (
  SELECT counter, sum(change) AS net FROM (
    SELECT repo_id, [toNullable(argMax(stars, day) - argMin(stars, day)), argMax(tuple(forks), day).1 - argMin(tuple(forks), day).1] AS changes FROM pulse.github_daily FINAL
    WHERE observed_at > ` + t.since() + ` AND ` + t.Where + ` GROUP BY repo_id HAVING count() > 1
  ) ARRAY JOIN ['stars', 'forks'] AS counter, changes AS change GROUP BY counter
) AS n ON n.counter = e.counter ORDER BY counter DESC`
}

// WeekHoursQuery counts the pushes and releases of the window by hour of the week.
func WeekHoursQuery(t Terms) string {
	return `SELECT toInt64(toDayOfWeek(created_at)) AS weekday, toInt64(toHour(created_at)) AS hour, toInt64(countIf(event_type = 'PushEvent')) AS pushes, toInt64(countIf(event_type = 'ReleaseEvent')) AS releases
FROM pulse.github_events WHERE (event_type = 'PushEvent' OR event_type = 'ReleaseEvent' AND action = 'published') AND created_at > ` + t.since() + ` AND ` + t.Where + `
GROUP BY weekday, hour ORDER BY weekday, hour`
}

// WaitingTimesQuery reads how long what was opened in the window waited. Survival is the
// share that still waits after each time at which a wait ended.
func WaitingTimesQuery(t Terms) string {
	return `WITH ` + t.Newest + ` AS newest, ` + t.since() + ` AS since
SELECT part, measure, toInt64(sum(waits)) AS items, toInt64(sum(ends)) AS ended, toInt64(sum(unknown)) AS unknown_begin,
  minOrNullIf(seconds, waits > 0 AND left <= 0.5 + 1e-9) AS median_seconds, minOrNullIf(seconds, waits > 0 AND left <= 0.1 + 1e-9) AS p90_seconds
FROM (
  SELECT *, exp(sum(if(at_risk > 0, log(1 - ends / at_risk), 0)) OVER (PARTITION BY part, measure ORDER BY seconds)) AS left
  FROM (
    SELECT *, sum(waits) OVER (PARTITION BY part, measure ORDER BY seconds DESC) AS at_risk
    FROM (
      SELECT part, m.1 AS measure, toFloat64(greatest(0, dateDiff('millisecond', opened_at, coalesce(m.2, m.3, newest)) / 1000)) AS seconds,
        countIf(known) AS waits, countIf(known AND isNotNull(m.2)) AS ends, countIf(NOT known) AS unknown
      FROM (
        SELECT *, ` + t.By + ` AS part, ifNull(opened_at > since AND isNotNull(author_id) AND NOT author_is_bot, false) AS known
        FROM pulse.items WHERE ` + t.Where + `
          AND (opened_at > since AND NOT ifNull(author_is_bot, false) OR isNull(opened_at) AND last_event_at > since)
      )
      ARRAY JOIN if(kind = 'issue', [
        ('issue_first_response', first_response_at, closed_at), ('issue_close', closed_at, CAST(NULL, 'Nullable(DateTime64(3))'))
      ], [
        ('pull_request_first_response', first_response_at, closed_at), ('pull_request_first_review', first_review_at, closed_at),
        ('pull_request_merge', merged_at, CAST(NULL, 'Nullable(DateTime64(3))')), ('pull_request_close', closed_at, CAST(NULL, 'Nullable(DateTime64(3))'))
      ]) AS m
      GROUP BY part, measure, seconds
    )
  )
)
GROUP BY part, measure ORDER BY part, measure`
}
