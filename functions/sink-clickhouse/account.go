package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// readLimit is the longest that a query over all of the time series may take.
const readLimit = time.Hour

// Open connects to a hot store, for reading some of it.
func Open(address string) (driver.Conn, error) { return connect(address, answerLimit) }

// OpenWhole connects to a hot store, for reading all of it: an answer may be an
// hour in coming.
func OpenWhole(address string) (driver.Conn, error) { return connect(address, readLimit) }

func connect(address string, patience time.Duration) (driver.Conn, error) {
	s, err := newStore(address, patience)
	if err != nil {
		return nil, err
	}
	return s.conn, nil
}

// Prepare makes the schema of a hot store, or brings it up to this version.
func Prepare(ctx context.Context, address string) error {
	s, err := newStore(address, answerLimit)
	if err != nil {
		return err
	}
	return errors.Join(s.prepare(ctx), s.conn.Close())
}

// longRead is for queries over all of the time series: they take their time, and
// go along the sort key instead of holding every key in memory.
func longRead(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": int(readLimit.Seconds()), "optimize_aggregation_in_order": 1, "max_threads": 2}))
}

// made says whether there is a schema: a store to which nothing was written yet
// has none, and holds nothing.
func made(ctx context.Context, conn driver.Conn) (bool, error) {
	var n uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = 'pulse' AND name = 'schema_versions'").Scan(&n); err != nil {
		return false, fmt.Errorf("look for the schema: %w", err)
	}
	return n > 0, nil
}

// Account says what the time series holds.
func Account(ctx context.Context, conn driver.Conn) (*account.Account, error) {
	return AccountTo(ctx, conn, nil)
}

// AccountTo is Account without the rows of records behind some marks of the topic:
// those that were stored later.
func AccountTo(ctx context.Context, conn driver.Conn, marks []kafka.Mark) (*account.Account, error) {
	ctx = longRead(ctx)
	a := account.NewAccount()
	if made, err := made(ctx, conn); err != nil || !made {
		return a, err
	}
	// One row per key, the checksums of its first row; then by day and sweep.
	rows, err := conn.Query(ctx, `
		SELECT toString(day), sweep, sum(copies), count(), sum(observed), sum(velocity) FROM (
			SELECT toDate(observed_at) AS day, any(sweep_id) AS sweep, count() AS copies,
				argMin(`+account.SQL(account.ObservedColumns())+`, revision) AS observed,
				argMin(`+account.SQL(account.VelocityColumns())+`, revision) AS velocity
			FROM pulse.github_metrics_timeseries AS t WHERE `+upTo(marks)+`
			GROUP BY repo_id, t.observed_at
		) GROUP BY day, sweep`)
	if err != nil {
		return nil, fmt.Errorf("count the time series: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var day, sweep string
		var copies, keys, observed, velocity uint64
		if err := rows.Scan(&day, &sweep, &copies, &keys, &observed, &velocity); err != nil {
			return nil, fmt.Errorf("count the time series: %w", err)
		}
		add := func(t account.Tally) account.Tally {
			return account.Tally{
				Rows: t.Rows + int64(copies), Distinct: t.Distinct + int64(keys),
				Observed: t.Observed + observed, Velocity: t.Velocity + velocity, // of details the time series has none
			}
		}
		a.Total, a.Days[day], a.Sweeps[sweep] = add(a.Total), add(a.Days[day]), add(a.Sweeps[sweep])
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count the time series: %w", err)
	}
	var repos uint64
	if err := conn.QueryRow(ctx, "SELECT uniqExact(repo_id) FROM pulse.github_metrics_timeseries WHERE "+upTo(marks)).Scan(&repos); err != nil {
		return nil, fmt.Errorf("count the repositories: %w", err)
	}
	a.Repos = int64(repos)
	return a, nil
}

// upTo is a condition on rows: they are not of a record behind its mark.
func upTo(marks []kafka.Mark) string {
	all := []string{"1"}
	for _, m := range marks {
		all = append(all, fmt.Sprintf("NOT (origin_partition = %d AND origin_offset >= %d AND origin_topic_id = %s)", m.Partition, m.Next, quote(m.TopicID)))
	}
	return strings.Join(all, " AND ")
}

func quote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// List tells the rows of the time series on some days, YYYY-MM-DD, without those
// of records behind some marks.
func List(ctx context.Context, conn driver.Conn, days []string, marks []kafka.Mark, to account.Counter) error {
	rows, err := conn.Query(longRead(ctx), `
		SELECT repo_id, toUnixTimestamp64Milli(observed_at), sweep_id, `+account.SQL(account.ObservedColumns())+`, `+account.SQL(account.VelocityColumns())+`
		FROM pulse.github_metrics_timeseries WHERE `+upTo(marks)+` AND toString(toDate(observed_at)) IN (?) ORDER BY revision`, days)
	if err != nil {
		return fmt.Errorf("list the time series: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var key repo.Key
		var sweep string
		var sums account.Sums
		if err := rows.Scan(&key.ID, &key.ObservedAt, &sweep, &sums.Observed, &sums.Velocity); err != nil {
			return fmt.Errorf("list the time series: %w", err)
		}
		to.Add(key, sweep, sums)
	}
	return rows.Err()
}

// Marks say how far a topic is stored.
func Marks(ctx context.Context, conn driver.Conn, topic string) ([]kafka.Mark, error) {
	if made, err := made(ctx, conn); err != nil || !made {
		return nil, err
	}
	return (&store{conn: conn}).marks(ctx, topic)
}

// AccountEvents says what github_events held at a time of the server's clock: see Now.
func AccountEvents(ctx context.Context, conn driver.Conn, now time.Time) (*account.Account, error) {
	return accountKeyed(ctx, conn, "pulse.github_events", fmt.Sprintf("stored_at <= fromUnixTimestamp64Micro(%d)", now.UnixMicro()), "created_at", "event_type, event_id", account.EventColumns())
}

// AccountSignals says what github_signals held at a time of the server's clock: see Now.
func AccountSignals(ctx context.Context, conn driver.Conn, now time.Time) (*account.Account, error) {
	return accountKeyed(ctx, conn, "pulse.github_signals FINAL", fmt.Sprintf("earliest >= -%d", now.UnixMicro()), "observed_at", "signal_id", account.SignalColumns())
}

// Now is the time on the server's clock.
func Now(ctx context.Context, conn driver.Conn) (now time.Time, err error) {
	if err := conn.QueryRow(ctx, "SELECT now64(6)").Scan(&now); err != nil {
		return now, fmt.Errorf("read the clock of ClickHouse: %w", err)
	}
	return now, nil
}

// accountKeyed counts those rows of a table that meet a condition, by the day of a time.
// A row is known by the time and a key.
func accountKeyed(ctx context.Context, conn driver.Conn, table, condition, at, key string, columns []account.Column) (*account.Account, error) {
	ctx = longRead(ctx)
	a := account.NewAccount()
	if made, err := made(ctx, conn); err != nil || !made {
		return a, err
	}
	rows, err := conn.Query(ctx, `
		SELECT toString(day), sum(copies), count(), sum(observed) FROM (
			SELECT toDate(`+at+`) AS day, count() AS copies, any(`+account.SQL(columns)+`) AS observed
			FROM `+table+` WHERE `+condition+` GROUP BY repo_id, `+at+`, `+key+`
		) GROUP BY day`)
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", table, err)
	}
	defer rows.Close()
	for rows.Next() {
		var day string
		var copies, keys, sum uint64
		if err := rows.Scan(&day, &copies, &keys, &sum); err != nil {
			return nil, fmt.Errorf("count %s: %w", table, err)
		}
		add := func(t account.Tally) account.Tally {
			return account.Tally{Rows: t.Rows + int64(copies), Distinct: t.Distinct + int64(keys), Observed: t.Observed + sum}
		}
		a.Total, a.Days[day] = add(a.Total), add(a.Days[day])
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count %s: %w", table, err)
	}
	return a, nil
}
