package sinkiceberg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/audit"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// Account tells the rows of one of the tables TableBase and TableProcessed; a
// table that does not exist has none. days, YYYY-MM-DD, choose the files to read:
// rows of other days may come too. Without days all are read.
func Account(ctx context.Context, c catalog.Catalog, name string, days []string, to audit.Counter) error {
	t, err := c.LoadTable(ctx, table.Identifier{namespace, name})
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load table %s: %w", name, err)
	}
	if t.CurrentSnapshot() == nil {
		return nil
	}
	observed, velocity := audit.ObservedColumns(), audit.VelocityColumns()
	if name == TableBase {
		velocity = nil
	}
	fields := []string{"sweep_id"}
	for _, c := range slices.Concat(observed, velocity) {
		if !slices.Contains(fields, c.Name) {
			fields = append(fields, c.Name)
		}
	}
	tasks, err := files(ctx, t, onDays(days))
	if err != nil {
		return fmt.Errorf("plan table %s: %w", name, err)
	}
	_, batches, err := t.Scan(table.WithSelectedFields(fields...), table.WithMaxConcurrency(1), table.WithArrowBatchSize(batchRows)).ReadTasks(ctx, tasks)
	if err != nil {
		return fmt.Errorf("scan table %s: %w", name, err)
	}
	for batch, err := range batches {
		if err != nil {
			return fmt.Errorf("scan table %s: %w", name, err)
		}
		r := newReader(batch)
		ids, times, sweeps := r.column("repo_id").(*array.Int64), r.column("observed_at").(*array.Timestamp), r.column("sweep_id").(*array.String)
		for i := range int(batch.NumRows()) {
			var v uint64
			if velocity != nil {
				v = r.sum(velocity, i)
			}
			to.Add(repo.Key{ID: ids.Value(i), ObservedAt: int64(times.Value(i)) / 1000}, sweeps.Value(i), r.sum(observed, i), v)
		}
		batch.Release()
	}
	return nil
}

// onDays lets the observations of some days through, YYYY-MM-DD, and all if
// there are none.
func onDays(days []string) iceberg.BooleanExpression {
	var any iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, d := range days {
		from, err := time.Parse(time.DateOnly, d)
		if err != nil {
			continue
		}
		at := iceberg.Reference("observed_at")
		any = iceberg.NewOr(any, iceberg.NewAnd(iceberg.GreaterThanEqual(at, iceberg.Timestamp(from.UnixMicro())),
			iceberg.LessThan(at, iceberg.Timestamp(from.AddDate(0, 0, 1).UnixMicro()))))
	}
	if len(days) == 0 {
		return nil
	}
	return any
}

// reader finds the columns of a batch by name.
type reader struct {
	batch   arrow.RecordBatch
	columns map[string]arrow.Array
	line    audit.Line
}

func newReader(b arrow.RecordBatch) *reader {
	r := &reader{batch: b, columns: map[string]arrow.Array{}}
	for i, f := range b.Schema().Fields() {
		r.columns[f.Name] = b.Column(i)
	}
	return r
}

func (r *reader) column(name string) arrow.Array { return r.columns[name] }

// sum is the checksum of one row over some columns.
func (r *reader) sum(cols []audit.Column, row int) uint64 {
	r.line = r.line[:0]
	for _, c := range cols {
		switch a := r.columns[c.Name].(type) {
		case nil:
			r.line = r.line.Null()
		case *array.Int64:
			if a.IsNull(row) {
				r.line = r.line.Null()
			} else {
				r.line = r.line.Int(a.Value(row))
			}
		case *array.Timestamp:
			if a.IsNull(row) {
				r.line = r.line.Null()
			} else {
				r.line = r.line.Int(int64(a.Value(row)) / 1000)
			}
		case *array.String:
			if a.IsNull(row) {
				r.line = r.line.Null()
			} else {
				r.line = r.line.Text(a.Value(row))
			}
		}
	}
	return r.line.Sum()
}

// Marks say how far each topic is stored in its table.
func Marks(ctx context.Context, c catalog.Catalog, name string) (map[int32]int64, error) {
	t, err := c.LoadTable(ctx, table.Identifier{namespace, name})
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load table %s: %w", name, err)
	}
	at, err := readOffsets(t)
	return at.Next, err
}

// Rows counts the rows of a table by what its files say of themselves.
func Rows(ctx context.Context, c catalog.Catalog, name string) (int64, error) {
	t, err := c.LoadTable(ctx, table.Identifier{namespace, name})
	if err != nil {
		return 0, fmt.Errorf("load table %s: %w", name, err)
	}
	files, err := t.Scan().PlanFiles(ctx)
	if err != nil {
		return 0, fmt.Errorf("plan table %s: %w", name, err)
	}
	var n int64
	for _, f := range files {
		n += f.File.Count()
	}
	return n, nil
}
