package sinkclickhouse

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/audit"
)

// Open connects to a hot store, for reading it.
func Open(address string) (driver.Conn, error) {
	s, err := newStore(address)
	if err != nil {
		return nil, err
	}
	return s.conn, nil
}

// Account says what the time series holds.
func Account(ctx context.Context, conn driver.Conn) (*audit.Account, error) {
	a := audit.NewAccount()
	// One row per key, the checksums of its first row; then by day and sweep.
	rows, err := conn.Query(ctx, `
		SELECT toString(day), sweep_id, sum(copies), count(), sum(observed), sum(velocity) FROM (
			SELECT toDate(observed_at) AS day, any(sweep_id) AS sweep_id, count() AS copies,
				argMin(`+audit.SQL(audit.ObservedColumns())+`, revision) AS observed,
				argMin(`+audit.SQL(audit.VelocityColumns())+`, revision) AS velocity
			FROM pulse.github_metrics_timeseries AS t
			GROUP BY repo_id, t.observed_at
		) GROUP BY day, sweep_id`)
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
		add := func(t audit.Tally) audit.Tally {
			return audit.Tally{
				Rows: t.Rows + int64(copies), Distinct: t.Distinct + int64(keys),
				Observed: t.Observed + observed, Velocity: t.Velocity + velocity,
			}
		}
		a.Total, a.Days[day], a.Sweeps[sweep] = add(a.Total), add(a.Days[day]), add(a.Sweeps[sweep])
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("count the time series: %w", err)
	}
	var repos uint64
	if err := conn.QueryRow(ctx, "SELECT uniqExact(repo_id) FROM pulse.github_metrics_timeseries").Scan(&repos); err != nil {
		return nil, fmt.Errorf("count the repositories: %w", err)
	}
	a.Repos = int64(repos)
	return a, nil
}

// Marks say how far a topic is stored.
func Marks(ctx context.Context, conn driver.Conn, topic string) (map[int32]int64, error) {
	marks, err := (&store{conn: conn}).marks(ctx, topic)
	if err != nil {
		return nil, err
	}
	next := map[int32]int64{}
	for _, m := range marks {
		next[m.Partition] = m.Next
	}
	return next, nil
}
