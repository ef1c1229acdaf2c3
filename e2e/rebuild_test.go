package e2e

import (
	"context"
	"strings"
	"testing"
	"time"
)

// wantDerived holds the tables that follow from the time series against it.
func (p *pulse) wantDerived() {
	p.t.Helper()
	const rows = "SELECT count(), sum(cityHash64(repo_id, day, stars, ifNull(open_issues, -1), ifNull(stars_delta_24h, -1), ifNull(stars_per_day_7d, -1), observed_at)) FROM "
	if got, want := p.query(rows+"pulse.github_daily FINAL"), p.query(rows+"(SELECT *, stars_per_day_7d, toDate(observed_at) AS day FROM pulse.github_metrics_timeseries ORDER BY observed_at DESC LIMIT 1 BY repo_id, day)"); got != want {
		p.t.Errorf("github_daily is %s, want %s", got, want)
	}
	const pushes = "SELECT count(), sum(cityHash64(repo_id, pushed_at)) FROM "
	if got, want := p.query(pushes+"pulse.github_pushes FINAL"), p.query(pushes+"(SELECT DISTINCT repo_id, assumeNotNull(pushed_at) AS pushed_at FROM pulse.github_metrics_timeseries WHERE isNotNull(pushed_at))"); got != want {
		p.t.Errorf("github_pushes is %s, want %s", got, want)
	}
}

func TestHotIsRebuiltFromColdWhateverBecameOfIt(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty", "--idle-after", "2s")
	p.run("replay", recording, "--from", "2025-10-01", "--until", "2025-12-01")
	p.audit()

	damage := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			p.exec(s)
		}
	}
	notClean := func() {
		t.Helper()
		if out, err := p.try("audit"); err == nil || !strings.Contains(out, "NOT CLEAN") {
			t.Errorf("audit of a damaged store: %v\n%s", err, out)
		}
	}
	damage("ALTER TABLE pulse.github_metrics_timeseries DELETE WHERE repo_id % 3 = 0 SETTINGS mutations_sync = 2",
		"INSERT INTO pulse.github_metrics_timeseries SELECT * FROM pulse.github_metrics_timeseries LIMIT 100",
		"ALTER TABLE pulse.github_processed_repos UPDATE stars = 0 WHERE 1 SETTINGS mutations_sync = 2")
	notClean()
	ctx, cancel := context.WithCancel(context.Background())
	killed := make(chan error, 1)
	go func() { killed <- p.command(ctx, "rebuild", "hot", "--from", "cold").Run() }()
	for began := time.Now(); p.query("SELECT ifNull(sum(total_rows), 0) FROM system.tables WHERE name LIKE 'new_%'") == "0" && time.Since(began) < time.Minute; {
		time.Sleep(20 * time.Millisecond)
	}
	cancel() // kill -9
	if err := <-killed; err == nil {
		t.Error("the rebuild was over before it was killed")
	}
	notClean()
	p.run("rebuild", "hot", "--from", "cold")
	if a := p.audit(); !a.Clean || a.Observations == 0 {
		t.Errorf("audit: %+v", a)
	}
	if got := p.query("SELECT count() FROM pulse.github_processed_repos FINAL WHERE stars = 0"); got != "0" {
		t.Errorf("%s repositories without stars", got)
	}

	// Killed between the old set and the new, it leaves a store that no sink
	// writes to, and what comes meanwhile waits in Kafka.
	damage("RENAME TABLE pulse.sink_commits TO pulse.old_sink_commits", "TRUNCATE TABLE pulse.github_metrics_timeseries")
	p.run("replay", recording, "--from", "2025-12-01")
	p.until(time.Minute, "sink-clickhouse has met the rows and refuses a store without markers", func() bool {
		return strings.Contains(p.failing("SINK_CLICKHOUSE_URL"), "read the markers of github.")
	})
	if got := p.query("SELECT count() FROM pulse.github_metrics_timeseries"); got != "0" {
		t.Errorf("%s rows were written to a store without markers", got)
	}
	p.run("rebuild", "hot", "--from", "cold")
	p.want(11_597, 142)
	p.run("replay", recording, "--from", "2025-12-30")
	p.want(11_597, 142)
	p.wantDerived()
}
