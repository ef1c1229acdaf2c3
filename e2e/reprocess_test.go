package e2e

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
)

// reprocessed is what `pulse reprocess --from --json` says.
type reprocessed struct {
	Computed    int      `json:"days_computed"`
	Rows        int      `json:"rows"`
	Changed     []string `json:"changed_days"`
	Published   bool     `json:"published"`
	Differences []string `json:"differences"`
}

func (p *pulse) reprocess(args ...string) (r reprocessed) {
	p.t.Helper()
	p.json(&r, append([]string{"reprocess"}, args...)...)
	return r
}

func (p *pulse) wantClean() {
	p.t.Helper()
	if a := p.audit(); !a.Clean || a.Duplicates != 0 || a.Observations == 0 {
		p.t.Errorf("audit: %+v", a)
	}
}

// series sums up the time series: every column of every row, but for when and of
// which record it was made.
func (p *pulse) series() string {
	p.t.Helper()
	return p.query(`SELECT count(), sum(cityHash64(toString(tuple(* EXCEPT (processed_at, origin_topic_id, origin_partition, origin_offset))))) FROM pulse.github_metrics_timeseries`)
}

// What is replayed and reprocessed, and from which day on it is corrupted.
const (
	firstDay, corrupted, lastDay, end = "2025-01-08", "2025-03-05", "2025-03-31", "2025-04-01"
	daysReprocessed                   = 83
)

func TestReprocessMakesTheRowsOfAnUndisturbedHistory(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty", "--idle-after", "1s")
	p.run("replay", recording, "--until", end)
	p.wantClean()
	undisturbed := p.series()

	// Killed in the middle of it, then run again: the days that were done are
	// there, and no row is other than it was.
	killed := p.command(context.Background(), "reprocess", "--from", firstDay, "--to", lastDay)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	c := p.cold()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		draft, err := c.LoadTable(context.Background(), table.Identifier{"github", "processed_repos_draft"})
		if err == nil && strings.Contains(draft.Properties()["m7pulse.draft"], `"inputs"`) {
			break
		}
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("no day was written: %v", err)
		}
	}
	kill(killed.Process.Pid)
	_ = killed.Wait() // it was killed
	p.wantClean()
	r := p.reprocess("--from", firstDay, "--to", lastDay, "--hold")
	if r.Computed == 0 || r.Computed >= daysReprocessed || strconv.Itoa(r.Rows) != p.query("SELECT count() FROM pulse.github_metrics_timeseries") || r.Published || len(r.Differences) > 0 {
		t.Errorf("after a kill: %+v", r)
	}
	r = p.reprocess("--from", firstDay, "--to", lastDay)
	if r.Computed != 0 || len(r.Changed) > 0 || !r.Published {
		t.Errorf("an undisturbed history: %+v", r)
	}

	p.corrupt()
	if out, err := p.try("audit"); err == nil {
		t.Errorf("audit of corrupted stores:\n%s", out)
	}
	if r = p.reprocess("--from", corrupted, "--to", lastDay, "--hold"); r.Published {
		t.Errorf("held: %+v", r)
	}
	p.run("reprocess", "--drop")
	if got := p.series(); got == undisturbed {
		t.Error("a draft that was dropped has mended something")
	}
	r = p.reprocess("--from", corrupted, "--to", lastDay)
	if !r.Published || !slices.Contains(r.Changed, "2025-03-07") || !slices.Contains(r.Changed, "2025-03-11") {
		t.Errorf("corrupted days: %+v", r)
	}
	if got := p.series(); got != undisturbed {
		t.Errorf("series %s, want %s", got, undisturbed)
	}
	p.wantClean()
	p.wantDerived()
	if r = p.reprocess("--from", corrupted, "--to", lastDay); len(r.Changed) > 0 || !r.Published {
		t.Errorf("published twice: %+v", r)
	}
	if got := p.series(); got != undisturbed {
		t.Errorf("published twice: series %s, want %s", got, undisturbed)
	}
	for _, wrong := range [][]string{{"--from", "2999-01-01"}, {"--from", "yesterday"}, {"--state", "--from", firstDay}, {"--to", lastDay}, {}} {
		if out, err := p.try(append([]string{"reprocess"}, wrong...)...); err == nil {
			t.Errorf("reprocess %v:\n%s", wrong, out)
		}
	}
	p.late()
}

// corrupt changes one day in ClickHouse, and takes a repository out of some days
// in Iceberg.
func (p *pulse) corrupt() {
	p.t.Helper()
	p.query("ALTER TABLE pulse.github_metrics_timeseries UPDATE stars_delta_24h = 1000, health_score = 1e6 WHERE toDate(observed_at) = '2025-03-07' SETTINGS mutations_sync = 2")
	p.query("ALTER TABLE pulse.github_metrics_timeseries DELETE WHERE toDate(observed_at) = '2025-03-11' AND stars % 2 = 0 SETTINGS mutations_sync = 2")
	p.query("ALTER TABLE pulse.github_daily DELETE WHERE day = '2025-03-11' AND stars % 2 = 0 SETTINGS mutations_sync = 2")
	ctx := context.Background()
	t, err := p.cold().LoadTable(ctx, table.Identifier{"github", sinkiceberg.TableProcessed})
	if err != nil {
		p.t.Fatal(err)
	}
	tx := t.NewTransaction()
	if err := tx.Delete(ctx, iceberg.NewAnd(iceberg.EqualTo(iceberg.Reference("name"), "react"), iceberg.LessThan(iceberg.Reference("stars"), int64(233_300)), iceberg.GreaterThan(iceberg.Reference("stars"), int64(233_000))), nil); err != nil {
		p.t.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// cold opens the stack's Iceberg.
func (p *pulse) cold() catalog.Catalog {
	p.t.Helper()
	c, closeCatalog, err := sinkiceberg.Open(context.Background(), sinkiceberg.Location{Catalog: p.address("ICEBERG_CATALOG_URI"), Warehouse: p.address("ICEBERG_WAREHOUSE")})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = closeCatalog() })
	return c
}

// late replays the same in disorder into another stack, and has the history mended
// there.
func (p *pulse) late() {
	p.t.Helper()
	const middle = "2025-02-10"
	undisturbed := p.series()
	p.run("down")
	q := newPulse(p.t)
	q.run("up", "--detach", "--empty", "--idle-after", "1s")
	q.run("replay", recording, "--from", middle, "--until", end)
	q.run("audit", "--wait")
	q.run("replay", recording, "--until", middle)
	q.wantClean()
	if q.series() == undisturbed {
		q.t.Error("half of the history came late, and no row shows it")
	}
	r := q.reprocess("--from", firstDay, "--to", lastDay)
	if !r.Published || len(r.Changed) == 0 {
		q.t.Errorf("late: %+v", r)
	}
	if got := q.series(); got != undisturbed {
		q.t.Errorf("late: series %s, want %s", got, undisturbed)
	}
	q.wantClean() // the audit knows that these days are not what Kafka has

	// Histories from Iceberg are as good as those they take the place of.
	out := q.run("reprocess", "--state", "--from-iceberg")
	if !strings.Contains(out, "from Iceberg and Kafka") {
		q.t.Errorf("state:\n%s", out)
	}
	const react = " WHERE name_with_owner = 'facebook/react'"
	event := `{"repo_id":` + q.query("SELECT repo_id FROM pulse.github_processed_repos FINAL"+react) +
		`,"name_with_owner":"facebook/react","stars":999999,"observed_at":"2025-04-01T00:00:00Z","source":"replay"}`
	if got, text := q.post("AGGREGATE_URL", "dev.m7pulse.repo.observed.v1", "application/json", event); got != 204 {
		q.t.Fatalf("answered %d %q", got, text)
	}
	q.run("audit", "--wait")
	want := q.query("SELECT count() FROM pulse.github_metrics_timeseries" + react)
	got := q.query("SELECT concat(toString(revision), ' ', toString(isNotNull(stars_delta_24h) AND isNotNull(stars_delta_30d))) FROM pulse.github_processed_repos FINAL" + react)
	if got != want+" 1" {
		q.t.Errorf("the next row: revision and whether its windows have bases are %s, want %s 1", got, want)
	}
}
