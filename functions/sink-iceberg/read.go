package sinkiceberg

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// Position is how far a topic is stored in a snapshot: the next offsets by
// partition. A table that has stored nothing has no topic id yet.
type Position struct {
	TopicID string
	Next    map[int32]int64
}

// Marks returns the position as marks of a kafka.Store.
func (p Position) Marks() (out []kafka.Mark) {
	for partition, next := range p.Next {
		out = append(out, kafka.Mark{TopicID: p.TopicID, Partition: partition, Next: next})
	}
	return out
}

// ReadObserved reads the observations of one snapshot of base_repos, in any order:
// those that match the filter, or all if it is nil. The filter selects files, so rows
// that do not match may come too.
func ReadObserved(ctx context.Context, c catalog.Catalog, filter iceberg.BooleanExpression, each func([]*event.RepoObserved) error) (Position, error) {
	return read(ctx, c, TableBase, observationColumns(func(o *event.RepoObserved) *repo.Observation { return o }), filter, each)
}

// ReadProcessed reads the rows of processed_repos, as ReadObserved does.
func ReadProcessed(ctx context.Context, c catalog.Catalog, filter iceberg.BooleanExpression, each func([]*event.RepoProcessed) error) (Position, error) {
	return read(ctx, c, TableProcessed, processedColumns(), filter, each)
}

// ReadSwept reads the ledger lines of sweeps. A line may come twice.
func ReadSwept(ctx context.Context, c catalog.Catalog, each func([]*event.OwnerSwept) error) (Position, error) {
	return read(ctx, c, TableSweeps, sweepColumns(), nil, each)
}

// ReadEvents reads the events of feeds, as ReadObserved does; a filter is of created_at.
func ReadEvents(ctx context.Context, c catalog.Catalog, filter iceberg.BooleanExpression, each func([]*event.GitHubEvent) error) (Position, error) {
	return read(ctx, c, TableEvents, eventColumns(), filter, each)
}

// ReadFeedReads reads the ledger lines of feeds. A line may come twice.
func ReadFeedReads(ctx context.Context, c catalog.Catalog, each func([]*event.FeedRead) error) (Position, error) {
	return read(ctx, c, TableFeedReads, feedReadColumns(), nil, each)
}

// ReadSignals reads the signals.
func ReadSignals(ctx context.Context, c catalog.Catalog, each func([]*event.Signal) error) (Position, error) {
	return read(ctx, c, TableSignals, signalColumns(), nil, each)
}

// read passes the rows of a table to each, a batch at a time, with one file open at
// once. The rows are not reused: each may keep them.
func read[R any](ctx context.Context, c catalog.Catalog, name string, cols []column[R], filter iceberg.BooleanExpression, each func([]*R) error) (Position, error) {
	t, err := loadTable(ctx, c, name)
	if err != nil || t == nil {
		return Position{}, err
	}
	at, err := readOffsets(t)
	if err != nil {
		return Position{}, err
	}
	return Position(at), readTable(ctx, t, cols, filter, each)
}

// loadTable loads a table, or nil if there is none.
func loadTable(ctx context.Context, c catalog.Catalog, name string) (*table.Table, error) {
	t, err := c.LoadTable(ctx, table.Identifier{namespace, name})
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load table %s: %w", name, err)
	}
	return t, nil
}

// readTable is read of a table that is loaded.
func readTable[R any](ctx context.Context, t *table.Table, cols []column[R], filter iceberg.BooleanExpression, each func([]*R) error) error {
	if t.CurrentSnapshot() == nil {
		return nil
	}
	files, err := files(ctx, t, filter)
	if err != nil {
		return fmt.Errorf("plan table %v: %w", t.Identifier(), err)
	}
	return readFiles(ctx, t, cols, files, each)
}

// readFiles is read of some files of a table.
func readFiles[R any](ctx context.Context, t *table.Table, cols []column[R], files []table.FileScanTask, each func([]*R) error) error {
	if len(files) == 0 {
		return nil
	}
	var fields []string
	var known []column[R]
	for _, col := range cols {
		if _, ok := t.Schema().FindFieldByName(col.name); ok {
			fields, known = append(fields, col.name), append(known, col)
		}
	}
	scan := t.Scan(table.WithSelectedFields(fields...), table.WithMaxConcurrency(1), table.WithArrowBatchSize(batchRows))
	_, batches, err := scan.ReadTasks(ctx, files)
	if err != nil {
		return fmt.Errorf("scan table %v: %w", t.Identifier(), err)
	}
	for batch, err := range batches {
		if err != nil {
			return fmt.Errorf("scan table %v: %w", t.Identifier(), err)
		}
		err := each(rows(batch, known))
		batch.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// files returns those of the current snapshot that may have rows matching a filter.
// Rows are not filtered: the library cannot compare timestamps row by row.
func files(ctx context.Context, t *table.Table, filter iceberg.BooleanExpression) ([]table.FileScanTask, error) {
	var opts []table.ScanOption
	if filter != nil {
		opts = append(opts, table.WithRowFilter(filter))
	}
	files, err := t.Scan(opts...).PlanFiles(ctx)
	for i := range files {
		files[i].Residual = nil
	}
	return files, err
}

// rows converts a batch to rows. A null leaves the field as it is in a new row.
func rows[R any](batch arrow.RecordBatch, cols []column[R]) []*R {
	store := make([]R, batch.NumRows())
	out := make([]*R, len(store))
	for i := range store {
		out[i] = &store[i]
	}
	byName := map[string]arrow.Array{}
	for i, f := range batch.Schema().Fields() {
		byName[f.Name] = batch.Column(i)
	}
	for _, c := range cols {
		values := byName[c.name]
		for i, r := range out {
			if !values.IsNull(i) {
				c.read(values, i, r)
			}
		}
	}
	return out
}
