package sinkiceberg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/cespare/xxhash/v2"

	"github.com/m7pulse/m7pulse/shared/event"
)

// reprocessedKey is the property of processed_repos that lists the days whose
// rows were published from a draft: they are not what aggregate once emitted.
const reprocessedKey = "m7pulse.reprocessed"

// Reprocessed returns the days whose rows were computed again and so may differ from
// those in Kafka.
func Reprocessed(ctx context.Context, c catalog.Catalog) (map[string]bool, error) {
	out := map[string]bool{}
	t, err := loadTable(ctx, c, TableProcessed)
	if err != nil || t == nil {
		return out, err
	}
	days := map[Day]bool{}
	err = addDays(days, t)
	for d := range days {
		out[string(d)] = true
	}
	return out, err
}

func addDays(to map[Day]bool, t *table.Table) error {
	text := t.Properties()[reprocessedKey]
	if text == "" {
		return nil
	}
	var spans [][2]Day
	if err := json.Unmarshal([]byte(text), &spans); err != nil {
		return fmt.Errorf("read %s of table %v: %w", reprocessedKey, t.Identifier(), err)
	}
	for _, s := range spans {
		for _, day := range s[0].Until(s[1]) {
			to[day] = true
		}
	}
	return nil
}

// spans shortens days to the first and the last of each run.
func spans(days map[Day]bool) (out [][2]Day) {
	var sorted []Day
	for d := range days {
		sorted = append(sorted, d)
	}
	slices.Sort(sorted)
	for _, d := range sorted {
		if n := len(out); n > 0 && out[n-1][1].Plus(1) == d {
			out[n-1][1] = d
			continue
		}
		out = append(out, [2]Day{d, d})
	}
	return out
}

// Publish replaces the published rows of the draft's days with the draft's, in one
// commit, and returns the days that changed. Days that are equal already are left
// alone, so it is safe to repeat. The sink may be running.
func (d *Draft) Publish(ctx context.Context) (changed []Day, err error) {
	draft, p, err := d.load(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[Day]print{}
	if err := fingerprint(ctx, draft, p.From, p.To, ours); err != nil {
		return nil, err
	}
	if _, err := ensure(ctx, d.main, layout{TableProcessed, d.days.layout.schema, d.days.layout.partition}); err != nil {
		return nil, err
	}
	w := overwriting{draft: d, from: draft}
	err = amend(ctx, d.main, TableProcessed, func(t *table.Table, tx *table.Transaction, props iceberg.Properties) error {
		theirs := map[Day]print{}
		if err := fingerprint(ctx, t, p.From, p.To, theirs); err != nil {
			return err
		}
		changed = changed[:0]
		for _, day := range p.From.Until(p.To) {
			if ours[day] != theirs[day] {
				changed = append(changed, day)
			}
		}
		if len(changed) == 0 {
			return errNoChange
		}
		if err := w.write(ctx, t, changed); err != nil {
			return err
		}
		if err := replaceFiles(ctx, tx, w.old, w.fresh, props); err != nil {
			return err
		}
		all := map[Day]bool{}
		if err := addDays(all, t); err != nil {
			return err
		}
		for _, day := range changed {
			all[day] = true
		}
		text, err := json.Marshal(spans(all))
		if err != nil {
			return err
		}
		props[reprocessedKey] = string(text)
		return tx.SetProperties(props)
	})
	if err != nil {
		return nil, fmt.Errorf("publish the draft: %w", err)
	}
	return changed, nil
}

// print is a fingerprint of the rows of a day, over all columns and in any order.
type print struct {
	rows int
	sum  uint64
}

func fingerprint(ctx context.Context, t *table.Table, from, to Day, of map[Day]print) error {
	there, err := datesOf(ctx, t)
	if err != nil {
		return err
	}
	return readFiles(ctx, t, processedColumns(), there.within(from, to), func(rows []*event.RepoProcessed) error {
		for _, r := range rows {
			text, err := json.Marshal(&r.Observation)
			if err != nil {
				return err
			}
			text = fmt.Appendf(text, "%d %d %t ", r.ProcessedAt.UnixMilli(), r.Revision, r.Late)
			day := DayOf(r.ObservedAt)
			f := of[day]
			of[day] = print{f.rows + 1, f.sum + xxhash.Sum64(r.Velocities.AppendBits(text))}
		}
		return nil
	})
}

// overwriting writes what a publication adds to a table: the rows of the draft,
// and the rows of other days that share a file with replaced ones. Files of a try
// that lost against another writer are used again, if they are still right.
type overwriting struct {
	draft *Draft
	from  *table.Table

	days  []Day
	old   []table.FileScanTask
	fresh []iceberg.DataFile
}

func (w *overwriting) write(ctx context.Context, t *table.Table, days []Day) error {
	there, err := datesOf(ctx, t)
	if err != nil {
		return err
	}
	draft, err := datesOf(ctx, w.from)
	if err != nil {
		return err
	}
	var old []table.FileScanTask
	var parts []table.FileScanTask // with rows of other days too
	for _, task := range there.within(days[0], days[len(days)-1]) {
		hit, miss, err := count(ctx, t, task, days)
		if err != nil {
			return err
		}
		if hit > 0 {
			old = append(old, task)
		}
		if hit > 0 && miss > 0 {
			parts = append(parts, task)
		}
	}
	same := func(a, b table.FileScanTask) bool { return a.File.FilePath() == b.File.FilePath() }
	if slices.Equal(days, w.days) && slices.EqualFunc(old, w.old, same) {
		return nil
	}
	w.days, w.old, w.fresh = slices.Clone(days), old, nil
	for _, task := range parts {
		kept, err := keep(ctx, t, task, days)
		if err != nil {
			return fmt.Errorf("keep the other days of %s: %w", task.File.FilePath(), err)
		}
		w.fresh = append(w.fresh, kept...)
	}
	for _, day := range days {
		var rows []*event.RepoProcessed
		flush := func() error {
			slices.SortStableFunc(rows, func(a, b *event.RepoProcessed) int { return a.ProcessedAt.Compare(b.ProcessedAt) })
			written, err := w.draft.days.write(ctx, t, rows)
			w.fresh, rows = append(w.fresh, written...), rows[:0]
			return err
		}
		err := readFiles(ctx, w.from, processedColumns(), draft.within(day, day), func(more []*event.RepoProcessed) error {
			if rows = append(rows, more...); len(rows) < DraftChunk {
				return nil
			}
			return flush()
		})
		if err := errors.Join(err, flush()); err != nil {
			return err
		}
	}
	return nil
}

// count returns how many rows of a file are of some days, and how many are not.
func count(ctx context.Context, t *table.Table, task table.FileScanTask, days []Day) (hit, miss int, err error) {
	columns := slices.DeleteFunc(processedColumns(), func(c column[event.RepoProcessed]) bool { return c.name != "observed_at" })
	err = readFiles(ctx, t, columns, []table.FileScanTask{task}, func(rows []*event.RepoProcessed) error {
		for _, r := range rows {
			if _, ok := slices.BinarySearch(days, DayOf(r.ObservedAt)); ok {
				hit++
			} else {
				miss++
			}
		}
		return nil
	})
	return hit, miss, err
}

// keep writes the rows of a file that are of other days, with all columns that the
// table has, known to this program or not.
func keep(ctx context.Context, t *table.Table, task table.FileScanTask, days []Day) (out []iceberg.DataFile, err error) {
	schema, batches, err := t.Scan(table.WithMaxConcurrency(1), table.WithArrowBatchSize(batchRows)).ReadTasks(ctx, []table.FileScanTask{task})
	if err != nil {
		return nil, err
	}
	at := schema.FieldIndices("observed_at")[0]
	var kept iter.Seq2[arrow.RecordBatch, error] = func(yield func(arrow.RecordBatch, error) bool) {
		for batch, err := range batches {
			if err == nil {
				batch, err = without(ctx, batch, at, days)
			}
			if !yield(batch, err) {
				return
			}
		}
	}
	for f, err := range table.WriteRecords(ctx, t, schema, kept, table.WithClusteredWrite()) {
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// without returns a batch without the rows of some days.
func without(ctx context.Context, batch arrow.RecordBatch, at int, days []Day) (arrow.RecordBatch, error) {
	defer batch.Release()
	b := array.NewBooleanBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range int(batch.NumRows()) {
		_, hit := slices.BinarySearch(days, DayOf(momentAt(batch.Column(at), i)))
		b.Append(!hit)
	}
	mask := b.NewArray()
	defer mask.Release()
	return compute.FilterRecordBatch(ctx, batch, mask, compute.DefaultFilterOptions())
}
