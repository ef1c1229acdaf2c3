package sinkiceberg

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/apache/iceberg-go"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

func TestTableOfAnOlderVersionIsGivenTheColumnsItLacks(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	now := processed(w.shelf, w.letters, w.codec).(*cold[event.RepoProcessed])
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

func TestTableThatIsNotOursIsRefused(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	now := processed(w.shelf, w.letters, w.codec).(*cold[event.RepoProcessed])
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
