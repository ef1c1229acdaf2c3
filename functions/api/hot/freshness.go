package hot

import (
	"context"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// State is how fresh and complete an answer about some repositories is.
type State struct {
	AsOf *time.Time // their newest reading, nil if there is none
	// Complete: the ledger says of every owner of theirs that its last sweep saw all of
	// it. nil where it says nothing, as of recorded data.
	Complete *bool
	// Simulated: some of the repositories never were.
	Simulated bool
}

// StateOf reads the state of an answer about the repositories of a filter.
func StateOf(ctx context.Context, conn Reader, f Filter) (State, error) {
	where, args := f.where()
	states, err := list(ctx, conn, "read how fresh and complete the repositories are", func(r driver.Rows, s *State) error {
		var owners, swept, complete, simulated uint64
		if err := r.Scan(&s.AsOf, &owners, &swept, &complete, &simulated); err != nil {
			return err
		}
		switch {
		case complete < swept:
			s.Complete = new(false)
		case owners > 0 && swept == owners:
			s.Complete = new(true)
		}
		if owners == 0 {
			s.AsOf = nil
		}
		s.Simulated = simulated > 0
		return nil
	}, `SELECT toNullable(max(s.newest)), count(), countIf(l.status != ''), countIf(l.status = 'complete'), sum(s.simulated)
		FROM (SELECT lower(owner) AS login, max(observed_at) AS newest, countIf(source = '`+repo.Simulated+`') AS simulated FROM pulse.github_processed_repos FINAL WHERE `+where+` GROUP BY login) AS s
		LEFT JOIN (SELECT lower(owner) AS login, toString(argMax(status, finished_at)) AS status FROM pulse.sweeps GROUP BY login) AS l ON l.login = s.login`, args...)
	if err != nil || len(states) == 0 {
		return State{}, err
	}
	return states[0], nil
}

// ChangesFrom is when changes of the repositories of a filter over a window are first
// known, if they are read on: their first reading is old enough then to be a base. nil
// if the first reading of the filter is older than that, or there is none.
func ChangesFrom(ctx context.Context, conn Reader, f Filter, window string) (*time.Time, error) {
	where, args := f.where()
	type ends struct{ first, last *time.Time }
	found, err := list(ctx, conn, "read when changes are known", func(r driver.Rows, e *ends) error { return r.Scan(&e.first, &e.last) }, `
		SELECT minOrNull(observed_at), maxOrNull(observed_at) FROM pulse.github_metrics_timeseries
		WHERE repo_id IN (SELECT repo_id FROM pulse.github_processed_repos FINAL WHERE `+where+`)`, args...)
	if err != nil || len(found) == 0 || found[0].first == nil {
		return nil, err
	}
	for _, w := range velocity.Windows() {
		if from := found[0].first.UTC().Add(w.Youngest()); w.Name == window && from.After(*found[0].last) {
			return &from, nil
		}
	}
	return nil, nil
}

// Freshness is how fresh and how complete the readings of an owner's repositories are.
type Freshness struct {
	Owner        string     `json:"owner"`
	Company      *string    `json:"company"`
	Repositories int64      `json:"repositories"`
	Current      int64      `json:"current" doc:"Repositories read in the three days before the newest reading of all."`
	Newest       time.Time  `json:"newest" doc:"Its newest reading."`
	FirstDay     string     `json:"first_day" format:"date"`
	DaysRead     int64      `json:"days_read" doc:"UTC days on which at least one of its repositories was read, since the first."`
	DaysExpected int64      `json:"days_expected" doc:"UTC days from the first to the newest reading of all."`
	Gaps         []Gap      `json:"gaps" doc:"Spans of UTC days since the first on which none of its repositories was read, in order."`
	Status       *string    `json:"last_sweep_status" doc:"Of its newest ledger line: complete, incomplete, unknown_owner or failed; null without one."`
	Reason       *string    `json:"last_sweep_reason"`
	FinishedAt   *time.Time `json:"last_sweep_finished_at"`
	Expected     *int64     `json:"last_sweep_expected"`
	Seen         *int64     `json:"last_sweep_seen"`
}

// Gap is a span of days without a reading, both ends included.
type Gap struct {
	From string `json:"from" format:"date"`
	To   string `json:"to" format:"date"`
}

// gaps are the spans between days that were read, and behind the last up to the newest.
// read is in order.
func gaps(read []time.Time, newest time.Time) []Gap {
	out := []Gap{}
	for i, day := range read {
		next := newest.AddDate(0, 0, 1)
		if i+1 < len(read) {
			next = read[i+1]
		}
		if from := day.AddDate(0, 0, 1); from.Before(next) {
			out = append(out, Gap{from.Format(time.DateOnly), next.AddDate(0, 0, -1).Format(time.DateOnly)})
		}
	}
	return out
}

// FreshnessOf reads the freshness of each owner.
func FreshnessOf(ctx context.Context, conn Reader, limit int) ([]Freshness, error) {
	return list(ctx, conn, "read how fresh and complete the owners are", func(r driver.Rows, f *Freshness) error {
		var newest time.Time
		var read []time.Time
		err := r.Scan(&f.Owner, &f.Company, &f.Repositories, &f.Current, &f.Newest, &read, &newest, &f.DaysRead, &f.DaysExpected, &f.Status, &f.Reason, &f.FinishedAt, &f.Expected, &f.Seen)
		if len(read) > 0 {
			f.FirstDay, f.Gaps = read[0].Format(time.DateOnly), gaps(read, newest)
		}
		return err
	}, `
		WITH assumeNotNull((SELECT max(observed_at) FROM pulse.github_processed_repos)) AS newest
		SELECT s.login, s.company, s.repositories, s.current, s.newest_read, d.days, toDate(newest), d.days_read, toInt64(dateDiff('day', d.first_day, toDate(newest)) + 1),
			l.status, l.reason, l.finished, l.expected, l.seen
		FROM (
			SELECT toString(owner) AS login, max(CAST(company, 'Nullable(String)')) AS company, toInt64(count()) AS repositories,
				toInt64(countIf(observed_at > newest - INTERVAL 3 DAY)) AS current, max(observed_at) AS newest_read
			FROM pulse.github_processed_repos FINAL GROUP BY login
		) AS s
		JOIN (
			SELECT toString(r.owner) AS login, min(day) AS first_day, arraySort(groupUniqArray(day)) AS days, toInt64(length(days)) AS days_read
			FROM pulse.github_daily AS t JOIN pulse.repositories AS r ON r.repo_id = t.repo_id GROUP BY login
		) AS d ON d.login = s.login
		LEFT JOIN (
			SELECT lower(owner) AS login, argMax(toNullable(toString(status)), finished_at) AS status, argMax(tuple(reason), finished_at).1 AS reason,
				toNullable(max(finished_at)) AS finished, argMax(tuple(expected), finished_at).1 AS expected, argMax(toNullable(seen), finished_at) AS seen
			FROM pulse.sweeps GROUP BY login
		) AS l ON l.login = lower(s.login)
		ORDER BY s.login LIMIT ?`, limit)
}

// SweepMark is where a page of the ledger ended.
type SweepMark struct {
	FinishedAt     time.Time
	SweepID, Owner string
}

// Sweeps reads up to limit lines of the ledger, the newest first, behind a mark if
// there is one; owner and status choose some of them.
func Sweeps(ctx context.Context, conn Reader, owner, status string, after *SweepMark, limit int) ([]event.OwnerSwept, error) {
	where, args := []string{"1"}, []any{}
	if owner != "" {
		where, args = append(where, "lower(owner) = lower(?)"), append(args, owner)
	}
	if status != "" {
		where, args = append(where, "status = ?"), append(args, status)
	}
	if after != nil {
		where = append(where, "(finished_at < fromUnixTimestamp64Milli(toInt64(?)) OR finished_at = fromUnixTimestamp64Milli(toInt64(?)) AND (sweep_id, toString(owner)) > (?, ?))")
		args = append(args, after.FinishedAt.UnixMilli(), after.FinishedAt.UnixMilli(), after.SweepID, after.Owner)
	}
	return list(ctx, conn, "read the ledger", func(r driver.Rows, s *event.OwnerSwept) error {
		return r.Scan(&s.SweepID, &s.Owner, &s.Status, &s.StartedAt, &s.FinishedAt, &s.Expected, &s.Seen, &s.New, &s.Renamed, &s.Gone, &s.Unanswered, &s.Pages, &s.KilledPages, &s.Points, &s.Seconds, &s.Reason)
	}, `SELECT sweep_id, toString(owner), toString(status), started_at, finished_at, expected, seen, new, renamed, gone, unanswered, pages, killed_pages, points, seconds, reason
		FROM pulse.sweeps FINAL WHERE `+strings.Join(where, " AND ")+` ORDER BY finished_at DESC, sweep_id, toString(owner) LIMIT ?`, append(args, limit)...)
}
