package sinkclickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// FeedGaps are the spans of feeds whose events were lost before they were read, by the
// ledger: github_feed_reads.
type FeedGaps struct {
	Gaps         int64    `json:"gaps"`
	Repositories int64    `json:"repositories"`
	Newest       *FeedGap `json:"newest"` // the one that ends last; nil if there is none
}

// FeedGap is one of them.
type FeedGap struct {
	Repository string     `json:"repository"`
	From       *time.Time `json:"from"` // nil: nothing was known before
	To         time.Time  `json:"to"`
	Reason     *string    `json:"reason"`
}

// ReadFeedGaps reads them. A line that was written again replaces the one before: an
// hour that a backfill could read in the end is none. Only repositories that have a
// gap are read whole.
func ReadFeedGaps(ctx context.Context, conn driver.Conn) (g FeedGaps, err error) {
	var there uint64 // a store to which nothing was written yet holds nothing
	err = conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = 'pulse' AND name = 'github_feed_reads'").Scan(&there)
	if err != nil {
		return g, fmt.Errorf("look for the ledger of feeds: %w", err)
	}
	if there == 0 {
		return g, nil
	}
	rows, err := conn.Query(ctx, `
SELECT count() OVER () AS gaps, toInt64(uniqExact(repo_id) OVER ()) AS repositories, toString(name_with_owner), gap_from, assumeNotNull(gap_to) AS until, reason
FROM pulse.github_feed_reads FINAL
WHERE status = 'gap' AND isNotNull(gap_to) AND repo_id IN (SELECT repo_id FROM pulse.github_feed_reads WHERE status = 'gap')
ORDER BY until DESC, repo_id LIMIT 1`)
	if err != nil {
		return g, fmt.Errorf("read the gaps of feeds: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var gaps uint64
		var newest FeedGap
		if err := rows.Scan(&gaps, &g.Repositories, &newest.Repository, &newest.From, &newest.To, &newest.Reason); err != nil {
			return g, fmt.Errorf("read the gaps of feeds: %w", err)
		}
		g.Gaps, g.Newest = int64(gaps), &newest
	}
	return g, rows.Err()
}
