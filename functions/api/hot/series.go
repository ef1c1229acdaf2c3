package hot

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// Span is the time of a series, both ends included, in a time zone by which its days
// are cut.
type Span struct {
	From, To time.Time // midnights in Zone
	Zone     *time.Location
	Hourly   bool // a point for each hour instead of each day
}

// starts are the points in time of a span.
func (s Span) starts() (out []time.Time) {
	end := s.To.AddDate(0, 0, 1)
	for at := s.From; at.Before(end); {
		out = append(out, at)
		if s.Hourly {
			at = at.Add(time.Hour)
		} else {
			at = at.AddDate(0, 0, 1)
		}
	}
	return out
}

// Point is one value of a series.
type Point struct {
	At    time.Time `json:"at" doc:"When the day, or the hour, began."`
	Value *float64  `json:"value" doc:"null where nothing was read or the value is not known."`
}

// Plottable says whether a field of the time series is a number.
func Plottable(d field.Definition) bool {
	return !d.Detail && (d.Kind == field.Int || d.Kind == field.Float) && d.Name != "repo_id"
}

// SeriesOf reads a field of one repository: of each day or hour the last value that
// is known, nil where there is none.
func SeriesOf(ctx context.Context, conn Reader, id int64, d field.Definition, s Span) ([]Point, error) {
	bucket, arg := "toUnixTimestamp(toStartOfDay(observed_at, ?))", s.Zone.String()
	if s.Hourly { // of the zone too: not all are whole hours from UTC
		bucket = "toUnixTimestamp(toStartOfHour(observed_at, ?))"
	}
	values, err := list(ctx, conn, "read the series", func(r driver.Rows, p *bucketed) error { return r.Scan(&p.at, &p.value) }, `
		SELECT toInt64(`+bucket+`) AS at, toFloat64(argMax(`+d.Name+`, (observed_at, revision))) FROM pulse.github_metrics_timeseries
		WHERE repo_id = ? AND observed_at >= fromUnixTimestamp64Milli(toInt64(?)) AND observed_at < fromUnixTimestamp64Milli(toInt64(?)) GROUP BY at`,
		arg, id, s.From.UnixMilli(), s.To.AddDate(0, 0, 1).UnixMilli())
	if isCode(err, codeBadArguments) || isCode(err, codeUnknownZone) {
		return nil, fmt.Errorf("%w %s: %w", ErrZone, s.Zone, err)
	}
	if err != nil {
		return nil, err
	}
	return points(s, values), nil
}

type bucketed struct {
	at           int64
	value        *float64
	repositories int64
}

func points(s Span, values []bucketed) []Point {
	starts := s.starts()
	known := make(map[int64]*float64, len(values))
	for _, v := range values {
		known[v.at] = v.value
	}
	out := make([]Point, len(starts))
	for i, at := range starts {
		out[i] = Point{At: at, Value: known[at.Unix()]}
	}
	return out
}

// GroupPoint is one value of the series of a group.
type GroupPoint struct {
	Point
	Repositories int64 `json:"repositories" doc:"How many of its repositories were read on the day and have the value."`
}

// Summed lists the fields that can be summed over a group day by day: those that
// ClickHouse keeps by day.
func Summed() (out []field.Definition) {
	names := []string{
		"stars", "forks", "watchers", "open_issues", "closed_issues", "open_prs", "merged_prs", "closed_prs", "releases", "commits_total",
		"stars_delta_24h", "forks_delta_24h", "open_issues_delta_24h", "stars_per_day_24h", "stars_per_day_7d", "stars_per_day_30d", "open_issues_per_day_7d",
	}
	for _, d := range Definitions() {
		if slices.Contains(names, d.Name) {
			out = append(out, d)
		}
	}
	return out
}

// GroupSeries sums a field over the repositories that are in a group today, on each UTC
// day over those that were read on it.
func GroupSeries(ctx context.Context, conn Reader, kind Kind, name string, d field.Definition, s Span) ([]GroupPoint, error) {
	values, err := list(ctx, conn, "read the series", func(r driver.Rows, p *bucketed) error { return r.Scan(&p.at, &p.value, &p.repositories) }, `
		SELECT toInt64(toUnixTimestamp(toDateTime(day))) AS at, toFloat64(sum(`+d.Name+`)), toInt64(count(`+d.Name+`)) FROM pulse.github_daily FINAL
		WHERE day BETWEEN toDate(?) AND toDate(?) AND repo_id IN (
			SELECT repo_id FROM pulse.github_processed_repos FINAL WHERE lower(ifNull(`+kind.column()+`, '')) = lower(?))
		GROUP BY at`,
		s.From.Format(time.DateOnly), s.To.Format(time.DateOnly), name)
	if err != nil {
		return nil, err
	}
	repositories := map[int64]int64{}
	for _, v := range values {
		repositories[v.at] = v.repositories
	}
	out := make([]GroupPoint, 0, len(values))
	for _, p := range points(s, values) {
		out = append(out, GroupPoint{p, repositories[p.At.Unix()]})
	}
	return out, nil
}

// Field is the field of a counter over a window: its rate, or the counter itself
// without a window.
func Field(counter, window string) (field.Definition, bool) {
	if window == "" {
		return Define(counter)
	}
	for _, c := range velocity.Counters() {
		if c == counter {
			return Define(counter + "_per_day_" + window)
		}
	}
	return field.Definition{}, false
}

// Index turns values into an index: the first that is known is 100. Without one, or if
// it is zero, all are nil.
func Index(values []*float64) []*float64 {
	out := make([]*float64, len(values))
	base := first(values)
	if base == nil || *base == 0 {
		return out
	}
	for i, v := range values {
		if v != nil {
			out[i] = new(100 * *v / *base)
		}
	}
	return out
}
