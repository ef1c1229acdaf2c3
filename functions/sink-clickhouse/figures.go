package sinkclickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Figures are what pulse watch asks of the store.
type Figures struct {
	Newest             time.Time         // when the newest observation was made
	Failed, Incomplete uint64            // owners, by their newest sweep of the last 3 days
	Seen, Expected     int64             // repositories, by the same where GitHub counted them
	HotCold            uint64            // expectations on both stores that did not hold when they were last checked
	Critical           uint64            // other critical ones
	Coverage           uint64            // 1: that on the coverage of events
	Free               float64           // of the fullest disk, between 0 and 1
	Swept              time.Time         // when the last sweep of the last 3 days ended; of 1970 if there is none
	Rows               map[string]uint64 // by table; rows that are stored twice until they are merged count twice
}

// ReadFigures asks one query, which reads the ledger of 3 days, the states' times, the
// last results of the quality and how many rows the tables have. A run may check some
// suites only, and says nothing of the others: of each expectation the last result of the
// day before the newest run counts. One that was not checked for longer is no longer there.
func ReadFigures(ctx context.Context, conn driver.Conn, now time.Time) (f Figures, err error) {
	err = conn.QueryRow(ctx, `
WITH
  swept AS (
    SELECT owner, max(finished_at) AS at, argMax(toString(status), finished_at) AS ended, argMax((seen, ifNull(expected, 0)), finished_at) AS counts
    FROM pulse.sweeps WHERE finished_at > toDateTime64($1, 3) - INTERVAL 3 DAY GROUP BY owner),
  ledger AS (
    SELECT countIf(ended IN ('failed', 'unknown_owner')) AS failed, countIf(ended = 'incomplete') AS incomplete,
      toInt64(sumIf(counts.1, counts.2 > 0)) AS seen, toInt64(sum(counts.2)) AS expected, max(at) AS newest FROM swept),
  checked AS (
    SELECT expectation AS id, argMax((suite, severity, passed), checked_at) AS last FROM pulse.quality_results
    WHERE checked_at > (SELECT max(checked_at) FROM pulse.quality_results) - INTERVAL 1 DAY GROUP BY id),
  held AS (
    SELECT countIf(last.1 = 'hot_cold') AS hot_cold, countIf(last.2 = 'critical' AND last.1 != 'hot_cold') AS critical,
      countIf(id = 'event_coverage') AS coverage FROM checked WHERE NOT last.3)
SELECT (SELECT max(observed_at) FROM pulse.github_processed_repos), failed, incomplete, seen, expected, hot_cold, critical, coverage,
  (SELECT min(free_space / total_space) FROM system.disks WHERE total_space BETWEEN 1 AND toUInt64(1e18)), newest,
  (SELECT mapFromArrays(groupArray(name), groupArray(assumeNotNull(total_rows))) FROM system.tables
    WHERE database = 'pulse' AND name IN ('github_metrics_timeseries', 'sweeps', 'github_events', 'github_feed_reads', 'github_signals'))
FROM ledger, held`, now.UTC().Format("2006-01-02 15:04:05")).
		Scan(&f.Newest, &f.Failed, &f.Incomplete, &f.Seen, &f.Expected, &f.HotCold, &f.Critical, &f.Coverage, &f.Free, &f.Swept, &f.Rows)
	if err != nil {
		return f, fmt.Errorf("read the figures of the watch: %w", err)
	}
	return f, nil
}
