package sinkiceberg

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/apache/iceberg-go"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

func TestTableOfAnOlderVersionIsGivenTheColumnsItLacks(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	now := processed(w.cold, w.letters, w.codec).(*tableStore[event.RepoProcessed])
	before := *now
	before.columns = now.columns[:len(now.columns)-20]
	before.layout.schema = schemaOf(before.columns)
	w.put(&before, w.block(event.TopicProcessedRepos, w.record(processedRow(1, 3, 1))))
	w.put(now, w.block(event.TopicProcessedRepos, w.record(processedRow(1, 4, 2))))
	// And the older program, still running, goes on.
	w.put(&before, w.block(event.TopicProcessedRepos, w.record(processedRow(1, 5, 3))))
	if got := w.account(TableProcessed); got.Rows != 3 || got.Distinct != 3 {
		t.Errorf("%+v", got)
	}
	table, err := now.load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if missing := lacking(table.Schema(), now.layout.schema); len(missing) != 0 {
		t.Errorf("still without %v", missing)
	}
}

// TestRatesThatAnOlderProgramStoredAreDropped: its rows read as those of today,
// before its file is compacted and after.
func TestRatesThatAnOlderProgramStoredAreDropped(t *testing.T) {
	long(t)
	w, ctx := newWorld(t), context.Background()
	now := processed(w.cold, w.letters, w.codec).(*tableStore[event.RepoProcessed])
	older := *now
	older.columns = slices.Clone(now.columns)
	for i, r := range velocity.Rates() { // between the others, as they stood
		older.columns = slices.Insert(older.columns, len(observedColumns())+2*i, either(r.Name, iceberg.PrimitiveTypes.Float64,
			func(p *event.RepoProcessed) *float64 { return r.Of(&p.Velocities, p.ObservedAt) }, func(*event.RepoProcessed, float64) {}))
	}
	older.layout.schema = schemaOf(older.columns)
	w.put(&older, w.block(event.TopicProcessedRepos, w.record(complete(1)), w.record(complete(2))))
	want := w.account(TableProcessed)
	if have, err := older.load(ctx); err != nil || len(rates(have.Schema())) != len(velocity.Rates()) {
		t.Fatalf("the older program's table: %v", err)
	}
	summer := account.NewSummer()
	const commits = 12
	for i := range int64(commits) {
		row := complete(100 + i)
		w.put(now, w.block(event.TopicProcessedRepos, w.record(row)))
		sums := summer.Processed(row)
		want = account.Tally{Rows: want.Rows + 1, Distinct: want.Distinct + 1,
			Observed: want.Observed + sums.Observed, Details: want.Details + sums.Details, Velocity: want.Velocity + sums.Velocity}
	}
	held := func(when string) {
		t.Helper()
		if got := w.account(TableProcessed); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
		table, err := now.load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if left := rates(table.Schema()); len(left) > 0 {
			t.Errorf("%s: rates %v are left", when, left)
		}
	}
	held("after the upgrade")
	if done := w.maintain(Keep{Orphans: time.Hour})[TableProcessed]; done.Compacted != 1+commits || done.Written != 1 {
		t.Errorf("%+v", done)
	}
	held("after compaction")
}

func TestTableThatIsNotOursIsRefused(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	now := processed(w.cold, w.letters, w.codec).(*tableStore[event.RepoProcessed])
	other := *now
	other.layout.partition = ""
	other.layout.schema = iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "x", Type: iceberg.PrimitiveTypes.Int64})
	if _, err := other.Resume(ctx, event.TopicProcessedRepos, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := now.Resume(ctx, event.TopicProcessedRepos, nil); !errors.Is(err, kafka.ErrFatal) {
		t.Errorf("%v", err)
	}
}

func TestSchemaSentToARESTCatalogNamesItsLastColumn(t *testing.T) {
	t.Parallel()
	sent := withLastColumn([]byte(`{"updates": [{"action": "add-schema", "schema": {"schema-id": 99, "fields": [
		{"id": 7, "name": "topics", "type": {"type": "list", "element-id": 12, "element": "string"}}]}},
		{"action": "set-properties", "updates": {"big": 9007199254740993}}]}`))
	var commit struct {
		Updates []map[string]json.RawMessage `json:"updates"`
	}
	if err := json.Unmarshal(sent, &commit); err != nil {
		t.Fatal(err)
	}
	if got := string(commit.Updates[0]["last-column-id"]); got != "12" {
		t.Errorf("last-column-id %s, want 12", got)
	}
	if got := string(commit.Updates[1]["updates"]); got != `{"big":9007199254740993}` {
		t.Errorf("numbers are changed: %s", got)
	}
	if got := string(withLastColumn([]byte("no json"))); got != "no json" {
		t.Errorf("%s", got)
	}
}
