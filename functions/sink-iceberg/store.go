package sinkiceberg

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// stage names this function in dead letters.
const stage = "sink-iceberg"

// tableStore stores one topic in one table. A block is one commit: its rows, and the
// offsets after them, in one atomic step.
type tableStore[R any] struct {
	catalog func(context.Context) (catalog.Catalog, error)
	letters *kafka.DeadLetters
	layout  layout
	columns []column[R]
	decoder *kafka.Decoder[R]
	day     func(*R) time.Time // by which the table is partitioned
	// newRows returns those of the rows that the table lacks, each once, in their order;
	// nil where only the offset identifies a repeat.
	newRows func(ctx context.Context, t *table.Table, rows []*R) ([]*R, error)
	seen    offsets // those of the table when it was last read or written
}

// Resume implements kafka.Store.
func (c *tableStore[R]) Resume(ctx context.Context, _ string, _ []int32) ([]kafka.Mark, error) {
	cat, err := c.catalog(ctx)
	if err != nil {
		return nil, err
	}
	t, err := ensure(ctx, cat, c.layout)
	if err != nil {
		return nil, err
	}
	if c.seen, err = readOffsets(t); err != nil {
		return nil, err
	}
	return Position(c.seen).Marks(), nil
}

// load loads the table that Resume has read. It does not create it: one that is
// missing now has lost what was stored before the current block.
func (c *tableStore[R]) load(ctx context.Context) (*table.Table, error) {
	cat, err := c.catalog(ctx)
	if err != nil {
		return nil, err
	}
	t, err := loadTable(ctx, cat, c.layout.name)
	if err == nil && t == nil {
		err = fmt.Errorf("table %s is missing from the catalog", c.layout.name)
	}
	return t, err
}

// Prepare implements kafka.Store.
func (c *tableStore[R]) Prepare(ctx context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	rows, invalid, err := c.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	b.Records = nil // frees memory: the rows hold all values
	return func(ctx context.Context) (kafka.Offsets, error) {
		if err := c.letters.Write(ctx, invalid); err != nil {
			return nil, err
		}
		return b.Next, c.put(ctx, topicID, b, rows)
	}, nil
}

func (c *tableStore[R]) put(ctx context.Context, topicID string, b kafka.Block, rows []*R) error {
	t, err := c.load(ctx)
	if err != nil {
		return err
	}
	// In the order of the table's partitions.
	slices.SortStableFunc(rows, func(a, b *R) int { return cmp.Compare(c.day(a).UnixMilli(), c.day(b).UnixMilli()) })
	if c.newRows != nil && len(rows) > 0 {
		if rows, err = c.newRows(ctx, t, rows); err != nil {
			return err
		}
	}
	files, err := c.write(ctx, t, rows)
	if err != nil {
		return err
	}
	if err := c.commit(ctx, t, topicID, b, files); err != nil {
		return err
	}
	c.decoder.Recycle(rows)
	return nil
}

// identity is how repeats of rows are found: by a key of type K, in files whose bounds
// of a time match.
type identity[R any, K comparable] struct {
	of      func(*R) K
	time    func(K) int64 // ms since 1970
	column  string        // of the time
	columns []string      // of the key
	// read returns the keys of a batch of these columns.
	read func(arrow.RecordBatch) func(row int) K
}

// observationIdentity finds repeats of observations: by repository and time.
func observationIdentity[R any](of func(*R) repo.Key) identity[R, repo.Key] {
	return identity[R, repo.Key]{
		of: of, time: func(k repo.Key) int64 { return k.ObservedAt }, column: "observed_at", columns: []string{"repo_id", "observed_at"},
		read: func(batch arrow.RecordBatch) func(int) repo.Key {
			ids, times := batch.Column(0).(*array.Int64), batch.Column(1).(*array.Timestamp)
			return func(row int) repo.Key {
				return repo.Key{ID: ids.Value(row), ObservedAt: int64(times.Value(row)) / 1000}
			}
		},
	}
}

// eventIdentity finds repeats of events: by type, id and time.
func eventIdentity() identity[event.GitHubEvent, feed.Key] {
	return identity[event.GitHubEvent, feed.Key]{
		of: (*event.GitHubEvent).Key, time: func(k feed.Key) int64 { return k.CreatedAt }, column: "created_at", columns: []string{"event_type", "event_id", "created_at"},
		read: func(batch arrow.RecordBatch) func(int) feed.Key {
			types, ids, times := batch.Column(0).(*array.String), batch.Column(1).(*array.Int64), batch.Column(2).(*array.Timestamp)
			return func(row int) feed.Key {
				return feed.Key{Type: types.Value(row), ID: ids.Value(row), CreatedAt: int64(times.Value(row)) / 1000}
			}
		},
	}
}

// raised is what identifies a signal; its time is in its id, but the files are found by it.
type raised struct {
	id string
	at int64 // ms since 1970
}

// signalIdentity finds repeats of signals: by id.
func signalIdentity() identity[event.Signal, raised] {
	return identity[event.Signal, raised]{
		of:   func(s *event.Signal) raised { return raised{s.ID, s.ObservedAt.UnixMilli()} },
		time: func(r raised) int64 { return r.at }, column: "observed_at", columns: []string{"signal_id", "observed_at"},
		read: func(batch arrow.RecordBatch) func(int) raised {
			ids, times := batch.Column(0).(*array.String), batch.Column(1).(*array.Timestamp)
			return func(row int) raised { return raised{ids.Value(row), int64(times.Value(row)) / 1000} }
		},
	}
}

// newRows returns the rows whose key is not in the table yet, each key once, in their
// order. It reads only files whose bounds include one of the keys' times: for a live
// sweep none, for a second replay those of its days, for an old record among live ones
// those of its hour.
func (i identity[R, K]) newRows(ctx context.Context, t *table.Table, rows []*R) ([]*R, error) {
	known := map[K]bool{}
	var times []int64
	for _, r := range rows {
		k := i.of(r)
		known[k] = false
		times = append(times, i.time(k))
	}
	slices.Sort(times)
	if err := i.find(ctx, t, known, slices.Compact(times)); err != nil {
		return nil, fmt.Errorf("look up %d keys in %v: %w", len(known), t.Identifier(), err)
	}
	out := rows[:0]
	for _, r := range rows {
		if k := i.of(r); !known[k] {
			known[k] = true
			out = append(out, r)
		}
	}
	return out, nil
}

// find sets to true those of the keys that a table holds. times are those of the
// keys, in order.
func (i identity[R, K]) find(ctx context.Context, t *table.Table, keys map[K]bool, times []int64) error {
	if t.CurrentSnapshot() == nil {
		return nil
	}
	planned, err := files(ctx, t, nearTimes(i.column, times))
	if err != nil {
		return err
	}
	field, ok := t.Schema().FindFieldByName(i.column)
	if !ok {
		return fmt.Errorf("table %v has no column %s", t.Identifier(), i.column)
	}
	planned = slices.DeleteFunc(planned, func(f table.FileScanTask) bool {
		from, to := inMillis(f.File.LowerBoundValues()[field.ID], math.MinInt64), inMillis(f.File.UpperBoundValues()[field.ID], math.MaxInt64)
		first, _ := slices.BinarySearch(times, from)
		return first == len(times) || times[first] > to
	})
	if len(planned) == 0 {
		return nil
	}
	_, batches, err := t.Scan(table.WithSelectedFields(i.columns...)).ReadTasks(ctx, planned)
	if err != nil {
		return err
	}
	for batch, err := range batches {
		if err != nil {
			return err
		}
		key := i.read(batch)
		for row := range int(batch.NumRows()) {
			k := key(row)
			if _, asked := keys[k]; asked {
				keys[k] = true
			}
		}
		batch.Release()
	}
	return nil
}

const (
	// rangeGap is the distance between two times that begins another range: a day,
	// by which tables are partitioned.
	rangeGap = 24 * time.Hour
	// maxRanges bounds a filter. With more ranges one over all of them is used: most
	// of the files in it are needed.
	maxRanges = 100
)

// nearTimes is a filter for files that may have rows near some times of a column, in ms
// since 1970 and in order.
func nearTimes(column string, times []int64) iceberg.BooleanExpression {
	var some []iceberg.BooleanExpression
	for begin, i := 0, 1; i <= len(times); i++ {
		if i == len(times) || times[i]-times[i-1] >= rangeGap.Milliseconds() {
			some, begin = append(some, within(column, times[begin], times[i-1])), i
		}
	}
	switch {
	case len(some) == 0:
		return iceberg.AlwaysFalse{}
	case len(some) > maxRanges:
		return within(column, times[0], times[len(times)-1])
	case len(some) == 1:
		return some[0]
	}
	return iceberg.NewOr(some[0], some[1], some[2:]...)
}

// within is a filter for rows from one time of a column to another, both included.
func within(column string, from, to int64) iceberg.BooleanExpression {
	at := iceberg.Reference(column)
	return iceberg.NewAnd(iceberg.GreaterThanEqual(at, iceberg.Timestamp(from*1000)), iceberg.LessThanEqual(at, iceberg.Timestamp(to*1000)))
}

// batchRows bounds the rows that are held in Arrow form at once. cachedRows rows are
// appended to all columns before the next ones are: as many as a processor's cache
// holds.
const (
	batchRows  = 8192
	cachedRows = 64
)

// write writes the data files of a block. They are not part of the table until they
// are committed.
func (c *tableStore[R]) write(ctx context.Context, t *table.Table, rows []*R) (files []iceberg.DataFile, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	ctx, span := trace.Start(ctx, trace.Client, "write files", "db.collection.name", c.layout.name, "db.operation.batch.size", len(rows))
	defer func() {
		span.Set("m7pulse.files", len(files))
		span.End(err)
	}()
	schema, err := table.SchemaToArrowSchema(t.Schema(), nil, true, false)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", c.layout.name, err)
	}
	batches := func(yield func(arrow.RecordBatch, error) bool) {
		for chunk := range slices.Chunk(rows, batchRows) {
			b, err := c.batch(schema, chunk)
			if !yield(b, err) {
				return
			}
		}
	}
	// One partition after the other: the rows are sorted, and a replay of a year
	// would otherwise keep hundreds of files open.
	for f, err := range table.WriteRecords(ctx, t, schema, batches, table.WithClusteredWrite()) {
		if err != nil {
			return nil, fmt.Errorf("write %d rows of %s: %w", len(rows), c.layout.name, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// batch builds an Arrow batch in the order of the table's own columns. A column of the
// table that this program does not know is null.
func (c *tableStore[R]) batch(schema *arrow.Schema, rows []*R) (arrow.RecordBatch, error) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Reserve(len(rows))
	ours := make([]int, schema.NumFields()) // indexes of our columns, or -1
	missing := len(c.columns)
	for i, f := range schema.Fields() {
		if ours[i] = slices.IndexFunc(c.columns, func(c column[R]) bool { return c.name == f.Name }); ours[i] >= 0 {
			missing--
		}
	}
	if missing > 0 {
		return nil, fmt.Errorf("%w: table %s lacks %d of our columns", kafka.ErrFatal, c.layout.name, missing)
	}
	for some := range slices.Chunk(rows, cachedRows) {
		for i, j := range ours {
			if j < 0 {
				b.Field(i).AppendNulls(len(some))
				continue
			}
			for _, r := range some {
				c.columns[j].append(b.Field(i), r)
			}
		}
	}
	return b.NewRecordBatch(), nil
}
