package sinkiceberg

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// fill commits blocks of one record each, over some days.
var tableCommits = flag.Int("tables.commits", 16, "commits of a table before its maintenance, an even number")

func (w *world) fill(s kafka.Store, commits, days int) {
	w.t.Helper()
	for i := range commits {
		w.put(s, w.block(event.TopicBaseRepos, w.record(observed(int64(1+i/days), i%days))))
	}
}

func (w *world) open() catalog.Catalog {
	w.t.Helper()
	c, err := w.cold.open(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) load(name string) *table.Table {
	w.t.Helper()
	t, err := w.open().LoadTable(context.Background(), table.Identifier{namespace, name})
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

func (w *world) files(name string) int {
	w.t.Helper()
	files, err := w.load(name).Scan().PlanFiles(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return len(files)
}

// onDisk lists the files of a kind in the warehouse.
func (w *world) onDisk(ending string) (paths []string) {
	w.t.Helper()
	root := strings.TrimPrefix(w.cold.at.Warehouse, "file://")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ending) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return paths
}

func (w *world) maintain(keep Keep) map[string]Maintenance {
	w.t.Helper()
	done := map[string]Maintenance{}
	if err := Maintain(context.Background(), w.open(), keep, func(m Maintenance) { done[m.Table] = m }); err != nil {
		w.t.Fatal(err)
	}
	return done
}

func TestMaintenanceLeavesFewFilesAndEveryRowAndOffset(t *testing.T) {
	t.Parallel()
	w := newCompressedWorld(t)
	raw := base(w.cold, w.letters, w.codec)
	w.fill(raw, *tableCommits, 2)
	rows := w.account(TableBase)
	before, err := Marks(context.Background(), w.open(), TableBase)
	if err != nil {
		t.Fatal(err)
	}

	done := w.maintain(Keep{Snapshots: 0, Orphans: time.Hour})[TableBase]
	if want := (Maintenance{Table: TableBase, Files: *tableCommits, Compacted: *tableCommits, Written: 2, Snapshots: *tableCommits}); done != want {
		t.Errorf("done %+v, want %+v", done, want)
	}
	if got := w.files(TableBase); got != 2 {
		t.Errorf("%d files, want one a day", got)
	}
	if got := len(w.load(TableBase).Metadata().Snapshots()); got != 1 {
		t.Errorf("%d snapshots, want the current one", got)
	}
	if got := len(w.onDisk(".parquet")); got != 2 {
		t.Errorf("%d data files on disk, want 2: the old ones belong to nobody", got)
	}
	if got := w.account(TableBase); got != rows {
		t.Errorf("rows %+v, want %+v", got, rows)
	}
	after, err := Marks(context.Background(), w.open(), TableBase)
	if err != nil || !maps.Equal(before, after) {
		t.Errorf("marks %v, %v; want %v", after, err, before)
	}
	if got := w.load(TableBase).CurrentSnapshot().Summary.Properties[offsetsKey]; !strings.Contains(got, topicID) {
		t.Errorf("the new snapshot's offsets are %q", got)
	}
	// The sink goes on where it was, and what comes again is known.
	w.put(raw, w.block(event.TopicBaseRepos, w.record(observed(1, 0)), w.record(observed(99, 1))))
	if got := w.account(TableBase); got.Rows != rows.Rows+1 {
		t.Errorf("%d rows, want %d", got.Rows, rows.Rows+1)
	}
	// A second time there is nothing to do but for the snapshots of the first.
	if again := w.maintain(Keep{Snapshots: time.Hour, Orphans: time.Hour})[TableBase]; again != (Maintenance{Table: TableBase, Files: 3}) {
		t.Errorf("again: %+v", again)
	}
}

func TestMaintenanceAndSinksMayCommitAtTheSameTime(t *testing.T) {
	long(t)
	t.Parallel()
	w := newWorld(t)
	raw := base(w.cold, w.letters, w.codec)
	w.fill(raw, 12, 3)
	const blocks = commitTries - 1 // if each of them comes in between, a compaction still has its turn
	var sink sync.WaitGroup
	sink.Go(func() {
		for i := range blocks {
			if err := put(raw, w.block(event.TopicBaseRepos, w.record(observed(int64(1000+i), i%3)))); err != nil {
				t.Errorf("block %d: %v", i, err)
			}
		}
	})
	compacted := 0
	for range 5 {
		compacted += w.maintain(Keep{Snapshots: time.Hour, Orphans: time.Hour})[TableBase].Compacted
	}
	sink.Wait()
	if compacted == 0 {
		t.Error("nothing was compacted")
	}
	if got := w.account(TableBase); got.Rows != 12+blocks || got.Distinct != 12+blocks {
		t.Errorf("%+v, want %d rows", got, 12+blocks)
	}
	if marks, err := Marks(context.Background(), w.open(), TableBase); err != nil || marks[0] != 12+blocks {
		t.Errorf("marks %v, %v, want %d", marks, err, 12+blocks)
	}
}

func TestACompactionThatSomebodyElseHasDoneChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(base(w.cold, w.letters, w.codec), 10, 1)
	stale := w.load(TableBase)
	w.maintain(Keep{Snapshots: time.Hour, Orphans: time.Hour})
	want := w.account(TableBase)
	m := Maintenance{Table: TableBase}
	before := len(w.onDisk(".parquet"))
	if err := compactAsOf(context.Background(), w.open(), stale, &m, &deadline{}, func(Maintenance) {}); err != nil {
		t.Fatal(err)
	}
	if m.Compacted != 0 || w.account(TableBase) != want || w.files(TableBase) != 1 {
		t.Errorf("%+v, rows %+v, %d files", m, w.account(TableBase), w.files(TableBase))
	}
	if left := len(w.onDisk(".parquet")); left != before {
		t.Errorf("%d data files on disk, want %d as before", left, before)
	}
}

// TestACompactionGoesOnWhereItsTimeEnded: what was done until then is committed,
// the rest is done the next time.
func TestACompactionGoesOnWhereItsTimeEnded(t *testing.T) {
	long(t)
	t.Parallel()
	w := newWorld(t)
	const all, first = 40, firstStep / leastWork
	w.fill(base(w.cold, w.letters, w.codec), all, 1)
	rows := w.account(TableBase)
	run := func(p *deadline, progress func()) Maintenance {
		t.Helper()
		m := Maintenance{Table: TableBase}
		if err := compact(context.Background(), w.open(), &m, p, func(Maintenance) { progress() }); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := run(&deadline{until: time.Now()}, func() {}); m != (Maintenance{Table: TableBase, Files: all, Left: all}) {
		t.Errorf("without time: %+v", m)
	}
	p := &deadline{until: time.Now().Add(time.Hour)}
	if m := run(p, func() { p.until = time.Now() }); m != (Maintenance{Table: TableBase, Files: all, Compacted: first, Written: 1, Left: all - first}) {
		t.Errorf("with time for a step: %+v", m)
	}
	if m := run(&deadline{until: time.Now().Add(time.Hour)}, func() {}); m.Left != 0 || w.files(TableBase) != 1 {
		t.Errorf("the rest: %+v, %d files", m, w.files(TableBase))
	}
	if got := w.account(TableBase); got != rows {
		t.Errorf("rows %+v, want %+v", got, rows)
	}
}

func TestACompactionThatIsBrokenOffLeavesNoFileBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(base(w.cold, w.letters, w.codec), *tableCommits, 1)
	before := w.onDisk(".parquet")
	broken := 0
	for limit := time.Millisecond; limit < time.Second; limit *= 2 {
		m := Maintenance{Table: TableBase}
		p := &deadline{until: time.Now().Add(limit)}
		tasks, err := w.load(TableBase).Scan().PlanFiles(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = p.rewrite(context.Background(), w.load(TableBase), "", tasks); err == nil {
			break
		}
		broken++
		if !errors.Is(err, errNoTime) {
			t.Error(err)
		}
		if after := w.onDisk(".parquet"); !slices.Equal(after, before) {
			t.Fatalf("after %s: %+v, %d files on disk, want %d", limit, m, len(after), len(before))
		}
	}
	if broken == 0 {
		t.Error("none was broken off")
	}
}

func TestATickThatRunsOutOfTimeIsNoFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(base(w.cold, w.letters, w.codec), 10, 1)
	for _, limit := range []time.Duration{time.Nanosecond, time.Millisecond, 10 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		if err := w.cold.maintenance(ctx, Keep{Orphans: time.Hour}); err != nil {
			t.Errorf("%s: %v", limit, err)
		}
		cancel()
	}
	if err := w.cold.maintenance(context.Background(), Keep{Orphans: time.Hour}); err != nil || w.files(TableBase) != 1 {
		t.Errorf("with time enough: %v, %d files", err, w.files(TableBase))
	}
}

func TestATickExpiresSnapshotsThoughItCannotCompact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(base(w.cold, w.letters, w.codec), 10, 1)
	if err := os.Remove(w.onDisk(".parquet")[3]); err != nil {
		t.Fatal(err)
	}
	if err := w.cold.maintenance(context.Background(), Keep{Orphans: time.Hour}); err == nil {
		t.Error("a file is missing, and nobody says so")
	}
	if got := len(w.load(TableBase).Metadata().Snapshots()); got != 1 {
		t.Errorf("%d snapshots, want the current one", got)
	}
}

func TestOrphansAreDeletedOnceTheyAreOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(base(w.cold, w.letters, w.codec), 3, 1)
	data := filepath.Dir(w.onDisk(".parquet")[0])
	for name, age := range map[string]time.Duration{"old.parquet": 4 * time.Hour, "young.parquet": time.Minute} {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, []byte("of a commit that was given up"), 0o600); err != nil {
			t.Fatal(err)
		}
		if at := time.Now().Add(-age); os.Chtimes(path, at, at) != nil {
			t.Fatal("age of", path)
		}
	}
	want := w.account(TableBase)
	done := w.maintain(Keep{Snapshots: time.Hour, Orphans: 3 * time.Hour})[TableBase]
	if done.Orphans != 1 || done.OrphanBytes != 29 {
		t.Errorf("%+v, want one orphan of 29 bytes", done)
	}
	left := fmt.Sprint(w.onDisk(".parquet"))
	if strings.Contains(left, "old.parquet") || !strings.Contains(left, "young.parquet") || w.account(TableBase) != want {
		t.Errorf("left: %s, rows %+v", left, w.account(TableBase))
	}
}

// A preview says what maintenance then does, as time passes, and changes nothing.
func TestAPreviewSaysWhatMaintenanceDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(base(w.cold, w.letters, w.codec), 12, 2)
	orphan := filepath.Join(filepath.Dir(w.onDisk(".parquet")[0]), "orphan.parquet")
	if err := os.WriteFile(orphan, []byte("of a commit that was given up"), 0o600); err != nil {
		t.Fatal(err)
	}
	later := func(by time.Duration) { // the store, so much later: its snapshots and files are older
		t.Helper()
		at := time.Now().Add(-by)
		if err := os.Chtimes(orphan, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		passed    time.Duration
		keep      Keep
		snapshots int
		orphans   int
	}{
		{time.Minute, Keep{Snapshots: time.Hour, Orphans: 3 * time.Hour}, 0, 0},
		{4 * time.Hour, Keep{Snapshots: time.Hour, Orphans: 3 * time.Hour}, 0, 1},
		{4 * time.Hour, Keep{Snapshots: 0, Orphans: 3 * time.Hour}, 11, 1},
	} {
		later(test.passed)
		before, files := w.account(TableBase), len(w.onDisk(""))
		said, err := Preview(t.Context(), w.open(), test.keep)
		if err != nil {
			t.Fatal(err)
		}
		got := said[slices.IndexFunc(said, func(m Maintenance) bool { return m.Table == TableBase })]
		if want := (Maintenance{Table: TableBase, Files: 12, Compacted: 12, Written: 2, Snapshots: test.snapshots, Orphans: test.orphans, OrphanBytes: int64(29 * test.orphans)}); got != want {
			t.Errorf("after %s, keeping %+v: %+v, want %+v", test.passed, test.keep, got, want)
		}
		if w.account(TableBase) != before || len(w.onDisk("")) != files {
			t.Errorf("the preview after %s changed something", test.passed)
		}
	}
	done := w.maintain(Keep{Snapshots: 0, Orphans: 3 * time.Hour})[TableBase]
	if done.Compacted != 12 || done.Written != 2 || done.Orphans != 1 || done.Snapshots < 11 {
		t.Errorf("done %+v", done)
	}
	said, err := Preview(t.Context(), w.open(), Keep{Snapshots: 0, Orphans: 3 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range said {
		if m.Compacted+m.Snapshots+m.Orphans != 0 {
			t.Errorf("after maintenance there is more to do: %+v", m)
		}
	}
}

func TestACatalogThatKeepsThePastItselfIsLeftToDoSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(base(w.cold, w.letters, w.codec), 6, 1)
	tx := w.load(TableBase).NewTransaction()
	if err := tx.SetProperties(map[string]string{"gc.enabled": "false"}); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	done := w.maintain(Keep{Snapshots: 0, Orphans: time.Hour})[TableBase]
	if done.Kept == "" || done.Compacted != 6 || done.Snapshots != 0 {
		t.Errorf("%+v", done)
	}
	if got := len(w.onDisk(".parquet")); got != 7 {
		t.Errorf("%d data files on disk, want 7", got)
	}
}

func TestTooYoungOrphansAreRefused(t *testing.T) {
	t.Parallel()
	err := Maintain(context.Background(), nil, Keep{Orphans: time.Minute}, nil)
	if err == nil || !strings.Contains(err.Error(), "SINK_ICEBERG_KEEP_ORPHANS") {
		t.Errorf("%v", err)
	}
}

// BenchmarkAThousandCommits makes a table of 1,000 small commits and says what a
// commit and a plan take, against a table of one commit, before maintenance and
// after it; each is the median of 21.
func BenchmarkAThousandCommits(b *testing.B) {
	const commits, days = 1000, 1
	for b.Loop() {
		grown, fresh := newCompressedWorld(b), newCompressedWorld(b)
		old, young := base(grown.cold, grown.letters, grown.codec), base(fresh.cold, fresh.letters, fresh.codec)
		grown.fill(old, commits, days)
		fresh.fill(young, 1, days)
		next := int64(1_000_000)
		commit := func(w *world, s kafka.Store) float64 {
			return median(21, func() { next++; w.put(s, w.block(event.TopicBaseRepos, w.record(observed(next, 0)))) })
		}
		plan := func(w *world) float64 { return median(21, func() { w.files(TableBase) }) }
		// The fresh table is measured last: its own commits make it older.
		beforeCommit, beforePlan := commit(grown, old), plan(grown)
		began := time.Now()
		grown.maintain(Keep{Snapshots: 0, Orphans: time.Hour})
		b.ReportMetric(time.Since(began).Seconds(), "maintain-s")
		afterPlan, freshPlan := plan(grown), plan(fresh)
		afterCommit, freshCommit := commit(grown, old), commit(fresh, young)
		for name, v := range map[string]float64{
			"commit-before/fresh": beforeCommit / freshCommit, "commit-after/fresh": afterCommit / freshCommit,
			"plan-before/fresh": beforePlan / freshPlan, "plan-after/fresh": afterPlan / freshPlan, "commit-fresh-ms": freshCommit * 1e3, "plan-fresh-ms": freshPlan * 1e3,
		} {
			b.ReportMetric(v, name)
		}
	}
}

// median is that of the seconds that some runs take.
func median(runs int, run func()) float64 {
	took := make([]float64, runs)
	for i := range took {
		began := time.Now()
		run()
		took[i] = time.Since(began).Seconds()
	}
	slices.Sort(took)
	return took[runs/2]
}
