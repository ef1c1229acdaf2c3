package events_test

import (
	"testing"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

// An hour that a backfill could not read and has read since is no gap any more, and
// neither is a feed that was refused.
func TestGapsOfFeedsAreWhatTheLedgerStillSays(t *testing.T) {
	conn, err := sinkclickhouse.Open(store.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	read := func() sinkclickhouse.FeedGaps {
		t.Helper()
		g, err := sinkclickhouse.ReadFeedGaps(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	before := read() // of other tests
	line := func(id int64, status string, d int) row {
		r := row{"repo_id": id, "name_with_owner": "gappy/x", "owner": "gappy", "status": status, "since": day(d), "read_at": day(d).Add(1)}
		if status == "gap" {
			r["gap_from"], r["gap_to"], r["reason"] = day(d), day(d+1), "why"
		}
		return r
	}
	insert(t, "github_feed_reads", line(161, "gap", 290), line(161, "gap", 291), line(162, "gap", 295), line(162, "failed", 296), line(162, "complete", 297))
	g := read()
	if g.Gaps-before.Gaps != 3 || g.Repositories-before.Repositories != 2 || g.Newest == nil || g.Newest.Repository != "gappy/x" || !g.Newest.To.Equal(day(296)) || !g.Newest.From.Equal(day(295)) || *g.Newest.Reason != "why" {
		t.Errorf("%+v, %+v; before %+v", g, g.Newest, before)
	}
	again := line(162, "complete", 295)
	again["read_at"] = day(295).Add(2e6)
	insert(t, "github_feed_reads", again)
	if g := read(); g.Gaps-before.Gaps != 2 || g.Repositories-before.Repositories != 1 || !g.Newest.To.Equal(day(292)) {
		t.Errorf("once the hour was read: %+v, %+v", g, g.Newest)
	}
}
