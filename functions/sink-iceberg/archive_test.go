package sinkiceberg

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// archiveSchema is the table that Kafka Connect makes of infra/connect/transform, as it
// was read from one.
func archiveSchema() *iceberg.Schema {
	return iceberg.NewSchema(0,
		iceberg.NestedField{ID: 1, Name: "topic", Type: iceberg.PrimitiveTypes.String, Required: true},
		iceberg.NestedField{ID: 2, Name: "partition", Type: iceberg.PrimitiveTypes.Int32, Required: true},
		iceberg.NestedField{ID: 3, Name: "offset", Type: iceberg.PrimitiveTypes.Int64, Required: true},
		iceberg.NestedField{ID: 4, Name: "timestamp", Type: iceberg.PrimitiveTypes.TimestampTz},
		iceberg.NestedField{ID: 5, Name: "key", Type: iceberg.PrimitiveTypes.Binary},
		iceberg.NestedField{ID: 6, Name: "value", Type: iceberg.PrimitiveTypes.Binary},
		iceberg.NestedField{ID: 7, Name: "headers", Required: true, Type: &iceberg.ListType{ElementID: 8, ElementRequired: true, Element: &iceberg.StructType{FieldList: []iceberg.NestedField{
			{ID: 9, Name: "key", Type: iceberg.PrimitiveTypes.String, Required: true},
			{ID: 10, Name: "value", Type: iceberg.PrimitiveTypes.Binary},
		}}}},
	)
}

// addToArchive adds records to an archive in one commit.
func addToArchive(t *testing.T, c catalog.Catalog, records ...*kgo.Record) {
	t.Helper()
	id := table.Identifier{"archive", "records"}
	at, err := c.LoadTable(t.Context(), id)
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		if err := c.CreateNamespace(t.Context(), table.Identifier{"archive"}, nil); err != nil {
			t.Fatal(err)
		}
		at, err = c.CreateTable(t.Context(), id, archiveSchema(), catalog.WithProperties(tableProperties()))
	}
	if err != nil {
		t.Fatal(err)
	}
	schema, err := table.SchemaToArrowSchema(at.Schema(), nil, false, false)
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	bytes := func(to array.Builder, v []byte) {
		if v == nil {
			to.AppendNull()
		} else {
			to.(*array.BinaryBuilder).Append(v)
		}
	}
	for _, r := range records {
		b.Field(0).(*array.StringBuilder).Append(r.Topic)
		b.Field(1).(*array.Int32Builder).Append(r.Partition)
		b.Field(2).(*array.Int64Builder).Append(r.Offset)
		appendMoment(b.Field(3), &r.Timestamp)
		bytes(b.Field(4), r.Key)
		bytes(b.Field(5), r.Value)
		list := b.Field(6).(*array.ListBuilder)
		list.Append(true)
		entry := list.ValueBuilder().(*array.StructBuilder)
		for _, h := range r.Headers {
			entry.Append(true)
			entry.FieldBuilder(0).(*array.StringBuilder).Append(h.Key)
			bytes(entry.FieldBuilder(1), h.Value)
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	rows, err := array.NewRecordReader(schema, []arrow.RecordBatch{batch})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Release()
	if _, err := at.Append(t.Context(), rows, nil); err != nil {
		t.Fatal(err)
	}
}

func archivedRecord(topic string, partition int32, offset int64) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Offset: offset, Timestamp: time.UnixMilli(1_700_000_000_000 + offset).UTC(),
		Key: []byte("key"), Value: fmt.Appendf(nil, "%s/%d/%d", topic, partition, offset),
		Headers: []kgo.RecordHeader{{Key: "same", Value: []byte("first")}, {Key: "same", Value: []byte{}}, {Key: "null"}}}
}

func TestArchiveIsReadInOrderAndEachRecordOnce(t *testing.T) {
	t.Parallel()
	c := newWorld(t).open()
	bare := &kgo.Record{Topic: "a", Partition: 1, Offset: 3, Timestamp: time.UnixMilli(5).UTC()} // a tombstone without a key
	addToArchive(t, c, archivedRecord("a", 1, 5), archivedRecord("a", 0, 3), archivedRecord("b", 0, 3))
	addToArchive(t, c, bare, archivedRecord("a", 0, 3), archivedRecord("a", 0, 9)) // one was written before
	a, err := OpenArchive(t.Context(), c, "archive.records")
	if err != nil {
		t.Fatal(err)
	}
	spans, err := a.Spans(t.Context())
	if want := (Span{3, 10, 3}); err != nil || len(spans) != 3 || spans[kafka.Partition{Topic: "a", Number: 0}] != want {
		t.Fatalf("%+v, %v", spans, err)
	}
	want := []*kgo.Record{archivedRecord("a", 0, 3), bare, archivedRecord("a", 1, 5)}
	got, err := a.Read(t.Context(), "a", 3, 9, 1<<20)
	if err != nil || fmt.Sprintf("%#v", dereferenced(got)) != fmt.Sprintf("%#v", dereferenced(want)) {
		t.Errorf("%v\n%#v\nwant\n%#v", err, dereferenced(got), dereferenced(want))
	}
	if got[1].Key != nil || got[1].Value != nil || got[0].Headers[1].Value == nil || got[0].Headers[2].Value != nil {
		t.Error("a null is not a null, or an empty value is one")
	}
	if _, err := a.Read(t.Context(), "a", 0, 100, 300); !errors.Is(err, ErrArchiveSize) {
		t.Errorf("more than is wanted: %v", err)
	}
}

func dereferenced(records []*kgo.Record) (out []kgo.Record) {
	for _, r := range records {
		out = append(out, *r)
	}
	return out
}

func TestArchiveOfTwoKafkasIsRefused(t *testing.T) {
	t.Parallel()
	c := newWorld(t).open()
	other := archivedRecord("a", 0, 3)
	other.Headers = other.Headers[:2]
	addToArchive(t, c, archivedRecord("a", 0, 3))
	addToArchive(t, c, other)
	a, err := OpenArchive(t.Context(), c, "archive.records")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read(t.Context(), "a", 0, 10, 1<<20); err == nil || !strings.Contains(err.Error(), "a/0/3: two records have one place") {
		t.Error(err)
	}
}

func TestTableThatIsNoArchiveIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(base(w.cold, w.letters, w.codec), w.block("github.base_repos", w.record(observed(1, 1))))
	for name, want := range map[string]string{
		"github.base_repos": "missing column topic",
		"records":           "want namespace.table",
		"archive.":          "want namespace.table",
		"archive.records":   "load table archive.records",
	} {
		if _, err := OpenArchive(t.Context(), w.open(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
