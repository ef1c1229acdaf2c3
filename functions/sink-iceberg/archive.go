package sinkiceberg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Archive is a table in which Kafka Connect keeps the records of topics as they are
// (docs/connect.md), as it was when it was opened. Connect writes a record again after
// some crashes: the same rows may come twice.
type Archive struct{ table *table.Table }

// Span is which offsets of a partition an archive has: from First up to but not
// including Next. Not each of them is a record's; Rows counts all, repeats too.
type Span struct{ First, Next, Rows int64 }

// OpenArchive opens a table, named namespace.table.
func OpenArchive(ctx context.Context, c catalog.Catalog, name string) (*Archive, error) {
	id := table.Identifier(strings.Split(name, "."))
	if len(id) < 2 || slices.Contains(id, "") {
		return nil, fmt.Errorf("archive %q: want namespace.table", name)
	}
	t, err := c.LoadTable(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load table %s: %w", name, err)
	}
	for _, col := range recordColumns() {
		if f, ok := t.Schema().FindFieldByName(col.name); !ok || f.Type.Type() != col.typ.Type() {
			return nil, fmt.Errorf("open archive %s: missing column %s of type %s", name, col.name, col.typ)
		}
	}
	return &Archive{t}, nil
}

// Spans says what the archive has of each partition.
func (a *Archive) Spans(ctx context.Context) (map[kafka.Partition]Span, error) {
	spans := map[kafka.Partition]Span{}
	err := readTable(ctx, a.table, recordColumns()[:placeColumns], nil, func(records []*kgo.Record) error {
		for _, r := range records {
			p := kafka.Partition{Topic: r.Topic, Number: r.Partition}
			s, ok := spans[p]
			if !ok {
				s.First = r.Offset
			}
			spans[p] = Span{min(s.First, r.Offset), max(s.Next, r.Offset+1), s.Rows + 1}
		}
		return nil
	})
	return spans, err
}

// errArchive: the rows of an archive contradict each other.
var errArchive = errors.New("two records have one place: the table is of more than one Kafka, each needs one of its own")

// Read returns the records of a topic whose offsets are from first up to but not
// including next: in order of offset, which across partitions is about that of time,
// each once. It fails with ErrArchiveSize when they have more than most bytes.
func (a *Archive) Read(ctx context.Context, topic string, first, next int64, most int) ([]*kgo.Record, error) {
	filter := iceberg.NewAnd(
		iceberg.EqualTo(iceberg.Reference("topic"), topic),
		iceberg.GreaterThanEqual(iceberg.Reference("offset"), first),
		iceberg.LessThan(iceberg.Reference("offset"), next),
	)
	var records []*kgo.Record
	size := 0
	err := readTable(ctx, a.table, recordColumns(), filter, func(rows []*kgo.Record) error {
		for _, r := range rows {
			if r.Topic != topic || r.Offset < first || r.Offset >= next { // the filter chooses files
				continue
			}
			if size += weight(r); size > most && next-first > 1 {
				return ErrArchiveSize
			}
			records = append(records, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Partition, b.Partition))
	})
	once := records[:0]
	for _, r := range records {
		if n := len(once); n > 0 && once[n-1].Partition == r.Partition && once[n-1].Offset == r.Offset {
			if !kafka.SameContent(once[n-1], r) {
				return nil, fmt.Errorf("table %v, %s/%d/%d: %w", a.table.Identifier(), topic, r.Partition, r.Offset, errArchive)
			}
			continue
		}
		once = append(once, r)
	}
	return once, nil
}

// ErrArchiveSize: the records asked for have more bytes than are wanted at once.
var ErrArchiveSize = errors.New("more records than are wanted at once")

func weight(r *kgo.Record) int {
	size := len(r.Key) + len(r.Value) + 200
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value) + 50
	}
	return size
}

// placeColumns is how many of recordColumns, from the first on, say where a record was.
const placeColumns = 3

// recordColumns are those of infra/connect/transform. They are only read.
func recordColumns() []column[kgo.Record] {
	return []column[kgo.Record]{
		{name: "topic", typ: iceberg.PrimitiveTypes.String, read: func(a arrow.Array, i int, r *kgo.Record) { r.Topic = textAt(a, i) }},
		{name: "partition", typ: iceberg.PrimitiveTypes.Int32, read: func(a arrow.Array, i int, r *kgo.Record) { r.Partition = a.(*array.Int32).Value(i) }},
		{name: "offset", typ: iceberg.PrimitiveTypes.Int64, read: func(a arrow.Array, i int, r *kgo.Record) { r.Offset = a.(*array.Int64).Value(i) }},
		{name: "timestamp", typ: iceberg.PrimitiveTypes.TimestampTz, read: func(a arrow.Array, i int, r *kgo.Record) { r.Timestamp = momentAt(a, i) }},
		{name: "key", typ: iceberg.PrimitiveTypes.Binary, read: func(a arrow.Array, i int, r *kgo.Record) { r.Key = bytesAt(a, i) }},
		{name: "value", typ: iceberg.PrimitiveTypes.Binary, read: func(a arrow.Array, i int, r *kgo.Record) { r.Value = bytesAt(a, i) }},
		{name: "headers", typ: &iceberg.ListType{}, read: func(a arrow.Array, i int, r *kgo.Record) {
			list := a.(*array.List)
			entries := list.ListValues().(*array.Struct)
			keys, values := entries.Field(0), entries.Field(1)
			from, to := list.ValueOffsets(i)
			for j := int(from); j < int(to); j++ {
				h := kgo.RecordHeader{Key: textAt(keys, j)}
				if !values.IsNull(j) {
					h.Value = bytesAt(values, j)
				}
				r.Headers = append(r.Headers, h)
			}
		}},
	}
}

// bytesAt returns a copy that is not nil, so that the batch can be freed.
func bytesAt(a arrow.Array, i int) []byte { return append([]byte{}, a.(*array.Binary).Value(i)...) }
