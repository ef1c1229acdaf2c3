// Package hot reads from ClickHouse, the hot store, what the command line and the
// API show: how fast repositories and groups of them move, and how fresh and
// complete that is.
package hot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Series is the newest state of a repository, with its last days. Its changes are
// nil if it is out of date: their windows ended days ago.
type Series struct {
	Name       string     `json:"repository"`
	RepoID     int64      `json:"repo_id"`
	Former     bool       `json:"former"` // another repository has its name now
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

// newestRows is the newest state of each repository, one row an id. Which is former
// is what pulse.repositories says: if several have had one name, it belongs to the
// one observed last.
const newestRows = `(SELECT *, stars_per_day_1h, stars_per_day_24h, stars_per_day_7d, stars_per_day_30d,
			repo_id IN (SELECT repo_id FROM pulse.repositories WHERE is_former) AS former
		FROM pulse.github_processed_repos FINAL)`

// current says of a repository whether it takes part in rankings: one that was not
// read in the three days before the newest reading of all has rates that are out of
// date. The views of ClickHouse say the same.
const current = `observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY`

// Label is the repository's name, with its id if another has that name now.
func (s Series) Label() string { return label(s.Name, s.RepoID, s.Former) }

func label(name string, id int64, former bool) string {
	if former {
		return fmt.Sprintf("%s (repo_id %d)", name, id)
	}
	return name
}

// ErrNoRepository begins the text that says which repository is not there.
var ErrNoRepository = errors.New("no repository")

// Repositories reads the newest state of some repositories, in the order asked for,
// each with its stars of the last days before the newest observation of all. A
// repository is named by owner/name, which is the one that has the name now, or by
// its repo_id. days is 2 or more.
func Repositories(ctx context.Context, conn Reader, names []string, days int) ([]Series, error) {
	all, err := list(ctx, conn, "read the repositories", func(r driver.Rows, s *Series) error {
		return r.Scan(&s.Name, &s.Company, &s.Language, &s.Stars, &s.Forks, &s.OpenIssues, &s.Stars7d, &s.Stars30d, &s.PerDay7d, &s.ObservedAt, &s.RepoID, &s.Former)
	}, `
		WITH `+current+` AS up_to_date
		SELECT name_with_owner, ifNull(company, owner), ifNull(primary_language, ''), stars, forks, open_issues, if(up_to_date, stars_delta_7d, NULL), if(up_to_date, stars_delta_30d, NULL), if(up_to_date, stars_per_day_7d, NULL), observed_at, repo_id, former
		FROM `+newestRows+` WHERE lower(name_with_owner) IN ? AND NOT former OR toString(repo_id) IN ?`, lowered(names), lowered(names))
	if err != nil {
		return nil, err
	}
	found := map[string]Series{}
	for _, s := range all {
		if !s.Former {
			found[strings.ToLower(s.Name)] = s
		}
		found[strconv.FormatInt(s.RepoID, 10)] = s
	}
	var out []Series
	for _, name := range lowered(names) {
		s, ok := found[name]
		if !ok && len(all) == 0 {
			if empty, err := Empty(ctx, conn); err != nil || empty {
				return nil, errors.Join(err, fmt.Errorf("%w %s: nothing has been observed yet", ErrNoRepository, strings.Join(names, ", ")))
			}
		}
		if !ok {
			return nil, fmt.Errorf("%w %s has been observed: want owner/name or a repo_id", ErrNoRepository, name)
		}
		if s.Days, err = Stars(ctx, conn, s.RepoID, days); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// Stars reads the stars of one repository on each of the last days.
func Stars(ctx context.Context, conn Reader, id int64, days int) ([]*float64, error) {
	return daysOf(ctx, conn, days, "toFloat64(argMax(stars, (observed_at, revision)))", "repo_id = ?", id)
}

// NewestDay is the day of the newest reading of all, the last of daysOf.
func NewestDay(ctx context.Context, conn Reader) (day time.Time, err error) {
	return one[time.Time](ctx, conn, "read the newest day", `SELECT toDate(max(observed_at)) FROM pulse.github_metrics_timeseries`)
}

// daysOf reads one value for each of the last days, oldest first, up to the
// newest reading of all; a day that was not read is nil.
func daysOf(ctx context.Context, conn Reader, days int, value, where string, args ...any) ([]*float64, error) {
	read, err := list(ctx, conn, "read the days", func(r driver.Rows, d *dayValue) error { return r.Scan(&d.ago, &d.value) }, `
		WITH (SELECT toDate(max(observed_at)) FROM pulse.github_metrics_timeseries) AS newest
		SELECT toInt32(dateDiff('day', toDate(t.observed_at), newest)) AS ago, `+value+`
		FROM pulse.github_metrics_timeseries AS t WHERE toDate(t.observed_at) > newest - `+fmt.Sprint(days)+` AND `+where+` GROUP BY ago`, args...)
	return byDay(read, days), err
}

// byDay puts values in the order of so many days, of which the last is the newest.
func byDay(read []dayValue, days int) []*float64 {
	out := make([]*float64, days)
	for _, d := range read {
		if d.ago != nil && *d.ago >= 0 && int(*d.ago) < days {
			out[days-1-int(*d.ago)] = d.value
		}
	}
	return out
}

type dayValue struct {
	ago   *int32
	value *float64
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

// Newest is the time of the newest reading of all, now if there is none.
func Newest(ctx context.Context, conn Reader) (time.Time, error) {
	at, err := one[*time.Time](ctx, conn, "read the newest reading", `SELECT maxOrNull(observed_at) FROM pulse.github_processed_repos`)
	if at == nil {
		return time.Now().UTC(), err
	}
	return at.UTC(), err
}

// Observed is a repository that has been observed.
type Observed struct {
	ID                   int64
	NameWithOwner, Owner string
}

// AllObserved reads which repositories have been observed.
func AllObserved(ctx context.Context, conn Reader) ([]Observed, error) {
	return list(ctx, conn, "list the repositories", func(r driver.Rows, k *Observed) error { return r.Scan(&k.ID, &k.NameWithOwner, &k.Owner) },
		"SELECT repo_id, toString(name_with_owner), toString(owner) FROM pulse.github_processed_repos FINAL ORDER BY repo_id")
}
