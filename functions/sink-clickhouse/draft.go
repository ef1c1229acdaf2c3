package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

const (
	series = "pulse.github_metrics_timeseries"
	// draft holds rows that are not published, next a month that is about to be.
	draft = "pulse." + DraftTable
	next  = "pulse.next_timeseries"
)

// Draft is the rows of the time series of some days, computed again: written
// apart and published month by month, each in one atomic step. It may be begun
// again at any point, and published twice.
type Draft struct {
	store  *store
	writer *writer
	redis  redis.UniversalClient
}

// OpenDraft returns the place where drafts are made, in the hot store at an
// address, with the writers' leases in a Redis.
func OpenDraft(address, redisURL string) (*Draft, error) {
	r, err := redisclient.New(redisURL)
	if err != nil {
		return nil, fmt.Errorf("invalid REDIS_URL: %w", err)
	}
	s, err := newStore(address, answerLimit)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &Draft{store: s, writer: &writer{redis: r, store: s}, redis: r}, nil
}

// Close gives back what OpenDraft took.
func (d *Draft) Close() error {
	return errors.Join(d.writer.release(), d.redis.Close(), d.store.conn.Close())
}

// draftLease is the right to work on drafts.
const draftLease = "github:pipeline:draft"

// Lock acquires the lease of the drafts, or fails with *lease.Held if another
// process holds it for longer than one that has died would. The context ends when
// the lease is lost.
func (d *Draft) Lock(ctx context.Context) (_ context.Context, release func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, leaseTTL+2*time.Second)
	defer cancel()
	l, err := d.writer.acquire(waiting, draftLease)
	if err != nil {
		return nil, nil, err
	}
	work, stop := l.Keep(ctx)
	return work, func() {
		stop()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = l.Release(ending) // else it ends by itself
	}, nil
}

// Begin makes an empty draft.
func (d *Draft) Begin(ctx context.Context) error {
	if err := d.store.prepare(ctx); err != nil {
		return err
	}
	if err := d.store.readClock(ctx); err != nil {
		return err
	}
	return d.createTable(ctx, draft)
}

// createTable makes a table like the time series, with nothing in it.
func (d *Draft) createTable(ctx context.Context, table string) error {
	for _, statement := range []string{"DROP TABLE IF EXISTS " + table, "CREATE TABLE " + table + " AS " + series} {
		if err := d.store.conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make %s: %w", table, err)
		}
	}
	return nil
}

// Drop removes the draft. What is published stays as it is.
func (d *Draft) Drop(ctx context.Context) error {
	for _, table := range []string{draft, next} {
		if err := d.store.conn.Exec(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
			return fmt.Errorf("drop %s: %w", table, err)
		}
	}
	return nil
}

// Write adds rows.
func (d *Draft) Write(ctx context.Context, rows []*event.RepoProcessed) error {
	out := make([]*row, len(rows))
	for i, p := range rows {
		out[i] = &row{RepoProcessed: p}
	}
	return insert(ctx, d.store, draft, append(seriesColumns(), d.store.arrival()), out)
}

// DraftDay is how many rows of a day the draft has, and of how many observations.
type DraftDay struct{ Rows, Distinct int64 }

// Count counts the draft, by day.
func (d *Draft) Count(ctx context.Context, days []string) (map[string]DraftDay, error) {
	out := map[string]DraftDay{}
	err := d.daily(ctx, draft, "uniqExact(repo_id, observed_at)", days, func(day string, rows, distinct uint64) {
		out[day] = DraftDay{int64(rows), int64(distinct)}
	})
	return out, err
}

// daily asks for the rows and one more figure of each of some days, which are in
// order. Days without rows have none.
func (d *Draft) daily(ctx context.Context, table, figure string, days []string, each func(day string, rows, figure uint64)) error {
	const month = 31 // is well within what one query may take
	for some := range slices.Chunk(days, month) {
		rows, err := d.store.conn.Query(ctx, "SELECT toString(toDate(observed_at)) AS day, count(), "+figure+" FROM "+table+
			" WHERE toDate(observed_at) BETWEEN toDate(?) AND toDate(?) GROUP BY day", some[0], some[len(some)-1])
		if err != nil {
			return fmt.Errorf("count %s: %w", table, err)
		}
		for rows.Next() {
			var day string
			var n, f uint64
			if err := rows.Scan(&day, &n, &f); err != nil {
				return errors.Join(fmt.Errorf("count %s: %w", table, err), rows.Close())
			}
			each(day, n, f)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return fmt.Errorf("count %s: %w", table, err)
		}
	}
	return nil
}

// Publish puts the draft's rows in the place of the published ones of some days,
// and returns the days that have changed by it. It takes the leases of all the
// topic's partitions meanwhile: what the sink would store then would be lost.
// The sink waits, and its records wait in Kafka.
func (d *Draft) Publish(ctx context.Context, partitions []int32, days []string, progress func(day string)) (changed []string, err error) {
	if err := d.writer.acquireAll(ctx, partitions); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.writer.release()) }()
	err = d.writer.write(ctx, func(ctx context.Context) error {
		changed, err = d.publish(ctx, days, progress)
		return err
	})
	return changed, err
}

func (d *Draft) publish(ctx context.Context, days []string, progress func(day string)) (changed []string, err error) {
	differ, err := d.differing(ctx, days)
	if err != nil {
		return nil, err
	}
	months := map[string][]string{}
	for _, day := range days {
		if !differ[day] {
			progress(day)
			continue
		}
		months[day[:7]] = append(months[day[:7]], day)
		changed = append(changed, day)
	}
	for _, day := range changed {
		month := months[day[:7]]
		if day != month[0] {
			continue
		}
		if err := d.month(ctx, month); err != nil {
			return nil, err
		}
		for _, done := range month {
			progress(done)
		}
	}
	if err := errors.Join(update(ctx, d.store, "pulse.github_processed_repos", stateColumns()), update(ctx, d.store, "pulse.github_daily", dailyColumns())); err != nil {
		return nil, err
	}
	if err := d.store.conn.Exec(ctx, "DROP TABLE IF EXISTS "+next); err != nil {
		return nil, fmt.Errorf("drop %s: %w", next, err)
	}
	return changed, nil
}

// differing are the days whose rows are not the same in the draft and in the time
// series, whatever records they came from.
func (d *Draft) differing(ctx context.Context, days []string) (map[string]bool, error) {
	var columns []string
	for _, c := range shared() {
		columns = append(columns, c.name)
	}
	type print struct{ rows, sum uint64 }
	prints := map[string]map[string]print{draft: {}, series: {}}
	for table, of := range prints {
		err := d.daily(ctx, table, "sum("+hashed(columns)+")", days, func(day string, rows, sum uint64) { of[day] = print{rows, sum} })
		if err != nil {
			return nil, err
		}
	}
	out := map[string]bool{}
	for _, day := range days {
		out[day] = prints[draft][day] != prints[series][day]
	}
	return out, nil
}

// hashed is a hash of columns that tells a null from every value.
func hashed(columns []string) string {
	return "cityHash64(toString((" + strings.Join(columns, ", ") + ")))"
}

// month publishes some days of one month: the month is built in a table of
// its own, from the draft's days and the others as they are, and then takes the
// place of the one that is there. A row keeps the record it came from, by which
// the sink knows what it has stored.
func (d *Draft) month(ctx context.Context, days []string) error {
	first, err := time.Parse(time.DateOnly, days[0][:7]+"-01")
	if err != nil {
		return fmt.Errorf("month of %s: %w", days[0], err)
	}
	if err := d.createTable(ctx, next); err != nil {
		return err
	}
	var names, taken []string
	for _, c := range seriesColumns() {
		names = append(names, c.name)
		if strings.HasPrefix(c.name, "origin_") {
			taken = append(taken, "m."+c.name)
		} else {
			taken = append(taken, "d."+c.name)
		}
	}
	into := "INSERT INTO " + next + " (" + strings.Join(names, ", ") + ") "
	for at := first; at.Month() == first.Month(); at = at.AddDate(0, 0, 1) { // a day is well within what one insert may take
		day := at.Format(time.DateOnly)
		from := "SELECT " + strings.Join(names, ", ") + " FROM " + series + " WHERE toDate(observed_at) = toDate(?)"
		args := []any{day}
		if slices.Contains(days, day) {
			from = "SELECT " + strings.Join(taken, ", ") + " FROM (SELECT * FROM " + draft + " WHERE toDate(observed_at) = toDate(?)) AS d" +
				" LEFT ANY JOIN (SELECT repo_id, observed_at, origin_topic_id, origin_partition, origin_offset FROM " + series +
				" WHERE toDate(observed_at) = toDate(?)) AS m ON d.repo_id = m.repo_id AND d.observed_at = m.observed_at"
			args = append(args, day)
		}
		if err := d.store.conn.Exec(ctx, into+from, args...); err != nil {
			return fmt.Errorf("create %s: %w", day, err)
		}
	}
	if err := d.store.conn.Exec(ctx, "ALTER TABLE "+series+" REPLACE PARTITION "+first.Format("200601")+" FROM "+next); err != nil {
		return fmt.Errorf("replace the month of %s: %w", days[0], err)
	}
	return d.updateDerived(ctx, days)
}

// updateDerived adds to the tables that are derived from the time series what
// some days have and they lack. What they have they keep: the version is that of the sink's rows.
func (d *Draft) updateDerived(ctx context.Context, days []string) error {
	var names, taken []string
	for _, c := range dailyColumns() {
		names = append(names, c.name)
		switch c.name {
		case "day":
			taken = append(taken, "toDate(observed_at)")
		case "version":
			taken = append(taken, "bitShiftLeft(toUInt64(toUnixTimestamp64Milli(observed_at)), 16) + least(revision, 65535)")
		default:
			taken = append(taken, c.name)
		}
	}
	of := " FROM " + draft + " WHERE toDate(observed_at) IN (?)"
	for _, statement := range []string{
		"INSERT INTO pulse.github_daily (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(taken, ", ") + of +
			" ORDER BY observed_at DESC LIMIT 1 BY repo_id, toDate(observed_at)",
		"INSERT INTO pulse.github_pushes (repo_id, pushed_at) SELECT DISTINCT repo_id, assumeNotNull(pushed_at)" + of + " AND isNotNull(pushed_at)",
	} {
		if err := d.store.conn.Exec(ctx, statement, days); err != nil {
			return fmt.Errorf("bring up what follows from the days of %s: %w", days[0][:7], err)
		}
	}
	return nil
}

// update gives the rows of a table that replaces the velocities of the draft, if
// their observation is in it. A row of the same version that comes later takes
// the place of the one before.
func update(ctx context.Context, s *store, table string, columns []column[row]) error {
	measured := map[string]bool{}
	for _, def := range velocity.Definitions() {
		measured[def.Name] = true
	}
	for _, rate := range velocity.Rates() { // those that github_daily has
		measured[rate.Name] = true
	}
	var names, taken, ours, theirs []string
	for _, c := range columns {
		names = append(names, c.name)
		if !measured[c.name] {
			taken = append(taken, "s."+c.name)
			continue
		}
		taken = append(taken, "d."+c.name)
		ours, theirs = append(ours, "d."+c.name), append(theirs, "s."+c.name)
	}
	err := s.conn.Exec(ctx, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+") SELECT "+strings.Join(taken, ", ")+
		" FROM (SELECT * FROM "+table+" FINAL) AS s JOIN "+draft+" AS d ON s.repo_id = d.repo_id AND s.observed_at = d.observed_at"+
		" WHERE "+hashed(ours)+" != "+hashed(theirs))
	if err != nil {
		return fmt.Errorf("bring %s up: %w", table, err)
	}
	return nil
}
