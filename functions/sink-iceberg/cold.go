package sinkiceberg

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// stage names this function in dead letters.
const stage = "sink-iceberg"

// cold stores one topic in one table. A block is one commit: its rows, and the
// offsets behind them, in one atomic step.
type cold[R any] struct {
	catalog func(context.Context) (catalog.Catalog, error)
	letters *kgo.Client // writes dead letters
	layout  layout
	columns []column[R]
	decoder *kafka.Decoder[R]
	day     func(*R) time.Time // by which the table is partitioned
	key     func(*R) repo.Key  // nil where a repeat is told by nothing but its offset
}

// Resume implements kafka.Store.
func (c *cold[R]) Resume(ctx context.Context, _ string, _ []int32) ([]kafka.Mark, error) {
	t, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	at, err := readOffsets(t)
	if err != nil {
		return nil, err
	}
	return Position(at).Marks(), nil
}

func (c *cold[R]) load(ctx context.Context) (*table.Table, error) {
	cat, err := c.catalog(ctx)
	if err != nil {
		return nil, err
	}
	return ensure(ctx, cat, c.layout)
}

// Prepare implements kafka.Store.
func (c *cold[R]) Prepare(ctx context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	rows, bad, err := c.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	b.Records = nil // the rows hold all of it
	return func(ctx context.Context) (kafka.Offsets, error) {
		if err := bad.Bury(ctx, c.letters, stage); err != nil {
			return nil, err
		}
		return b.Next, c.put(ctx, topicID, b, rows)
	}, nil
}

func (c *cold[R]) put(ctx context.Context, topicID string, b kafka.Block, rows []*R) error {
	t, err := c.load(ctx)
	if err != nil {
		return err
	}
	if rows, err = c.fresh(ctx, t, rows); err != nil {
		return err
	}
	files, err := c.write(ctx, t, rows)
	if err != nil {
		return err
	}
	if err := c.commit(ctx, t, topicID, b, files); err != nil {
		return err
	}
	c.decoder.GiveBack(rows)
	return nil
}

// fresh keeps the rows whose observation the table lacks, in the order of the
// table's partitions. Only files whose bounds overlap the block's range of time
// are read: for a live sweep none, for a second replay those of its days.
func (c *cold[R]) fresh(ctx context.Context, t *table.Table, rows []*R) ([]*R, error) {
	slices.SortStableFunc(rows, func(a, b *R) int { return cmp.Compare(c.day(a).UnixMilli(), c.day(b).UnixMilli()) })
	if c.key == nil || len(rows) == 0 {
		return rows, nil
	}
	known := map[repo.Key]bool{}
	from, to := c.key(rows[0]).ObservedAt, c.key(rows[0]).ObservedAt
	for _, r := range rows {
		k := c.key(r)
		known[k] = false
		from, to = min(from, k.ObservedAt), max(to, k.ObservedAt)
	}
	if err := mark(ctx, t, known, from, to); err != nil {
		return nil, fmt.Errorf("look up %d keys in %s: %w", len(known), c.layout.name, err)
	}
	out := rows[:0]
	for _, r := range rows {
		if k := c.key(r); !known[k] {
			known[k] = true
			out = append(out, r)
		}
	}
	return out, nil
}

// mark sets to true those of the keys that a table holds between two times.
func mark(ctx context.Context, t *table.Table, keys map[repo.Key]bool, from, to int64) error {
	if t.CurrentSnapshot() == nil {
		return nil
	}
	files, err := files(ctx, t, iceberg.NewAnd(
		iceberg.GreaterThanEqual(iceberg.Reference("observed_at"), iceberg.Timestamp(from*1000)),
		iceberg.LessThanEqual(iceberg.Reference("observed_at"), iceberg.Timestamp(to*1000))))
	if err != nil {
		return err
	}
	_, batches, err := t.Scan(table.WithSelectedFields("repo_id", "observed_at")).ReadTasks(ctx, files)
	if err != nil {
		return err
	}
	for batch, err := range batches {
		if err != nil {
			return err
		}
		ids, times := batch.Column(0).(*array.Int64), batch.Column(1).(*array.Timestamp)
		for i := range int(batch.NumRows()) {
			k := repo.Key{ID: ids.Value(i), ObservedAt: int64(times.Value(i)) / 1000}
			if _, asked := keys[k]; asked {
				keys[k] = true
			}
		}
		batch.Release()
	}
	return nil
}

// batchRows bounds the rows that are held in Arrow form at once. cachedRows are
// put into all columns before the next are: as many as a processor's cache holds.
const (
	batchRows  = 8192
	cachedRows = 64
)

// write writes the data files of a block. They count for nothing until they are
// committed.
func (c *cold[R]) write(ctx context.Context, t *table.Table, rows []*R) ([]iceberg.DataFile, error) {
	if len(rows) == 0 {
		return nil, nil
	}
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
	var files []iceberg.DataFile
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

// batch builds an Arrow batch in the order of the table's own columns. A column
// that the table has and we do not know is left null.
func (c *cold[R]) batch(schema *arrow.Schema, rows []*R) (arrow.RecordBatch, error) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Reserve(len(rows))
	ours := make([]int, schema.NumFields()) // indexes of our columns, or -1
	lacking := len(c.columns)
	for i, f := range schema.Fields() {
		if ours[i] = slices.IndexFunc(c.columns, func(c column[R]) bool { return c.name == f.Name }); ours[i] >= 0 {
			lacking--
		}
	}
	if lacking > 0 {
		return nil, fmt.Errorf("%w: table %s lacks %d of our columns", kafka.ErrFatal, c.layout.name, lacking)
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
