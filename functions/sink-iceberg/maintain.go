package sinkiceberg

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/apache/iceberg-go/table/compaction"
	"knative.dev/pkg/apis"
)

// Keep says what maintenance leaves alone, by its age.
type Keep struct {
	// Snapshots may be read by somebody: a long scan, a query of the past.
	Snapshots time.Duration `env:"SINK_ICEBERG_KEEP_SNAPSHOTS" envDefault:"168h"`
	// Orphans are files of no snapshot. A young one may belong to a commit that
	// is on its way.
	Orphans time.Duration `env:"SINK_ICEBERG_KEEP_ORPHANS" envDefault:"72h"`
}

// leastOrphanAge is longer than any commit takes.
const leastOrphanAge = time.Hour

// Validate says all that is wrong with the ages.
func (k Keep) Validate() (errs *apis.FieldError) {
	if k.Snapshots < 0 {
		errs = errs.Also(apis.ErrInvalidValue(k.Snapshots, "SINK_ICEBERG_KEEP_SNAPSHOTS"))
	}
	if k.Orphans < leastOrphanAge {
		errs = errs.Also(apis.ErrInvalidValue(k.Orphans, "SINK_ICEBERG_KEEP_ORPHANS", "less than 1h: a commit may be on its way"))
	}
	return errs
}

// Maintenance is what was done to a table.
type Maintenance struct {
	Table       string `json:"table"`
	Files       int    `json:"files"`     // data files before
	Compacted   int    `json:"compacted"` // of these, replaced
	Written     int    `json:"written"`   // by these
	Snapshots   int    `json:"snapshots"` // expired
	Orphans     int    `json:"orphans"`   // files deleted that no snapshot knew
	OrphanBytes int64  `json:"orphan_bytes"`
	Kept        string `json:"kept,omitempty"` // why snapshots and orphans were left alone
}

// Maintain makes few files out of many, day by day, expires old snapshots and
// deletes what is left over. No row changes, and every commit repeats how far the
// topic is stored. It may be ended and repeated at any point, and run beside the
// sink: of two commits at once one is tried again. progress is told after each
// commit and at the end of each table.
//
// A catalog that keeps the past itself says so with gc.enabled=false, as Nessie
// does: there snapshots and orphans are the business of its own collector.
func Maintain(ctx context.Context, c catalog.Catalog, keep Keep, progress func(Maintenance)) error {
	if errs := keep.Validate(); errs != nil {
		return errs
	}
	defer debug.SetGCPercent(debug.SetGCPercent(maintainGC))
	for _, name := range []string{TableBase, TableProcessed, TableSweeps} {
		m := Maintenance{Table: name}
		if err := maintain(ctx, c, keep, &m, progress); err != nil {
			return fmt.Errorf("maintain %s: %w", name, err)
		}
		progress(m)
	}
	return nil
}

func maintain(ctx context.Context, c catalog.Catalog, keep Keep, m *Maintenance, progress func(Maintenance)) error {
	t, err := c.LoadTable(ctx, table.Identifier{namespace, m.Table})
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := compact(ctx, c, t, m, progress); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if t.Properties()["gc.enabled"] == "false" {
		m.Kept = "gc.enabled=false: the catalog's own collector expires snapshots and deletes files"
		return nil
	}
	if err := expire(ctx, c, keep.Snapshots, m); err != nil {
		return fmt.Errorf("expire snapshots: %w", err)
	}
	if t, err = c.LoadTable(ctx, t.Identifier()); err != nil {
		return err
	}
	orphans, err := t.DeleteOrphanFiles(ctx, table.WithFilesOlderThan(keep.Orphans))
	if err != nil {
		return fmt.Errorf("delete orphans: %w", err)
	}
	m.Orphans, m.OrphanBytes = len(orphans.DeletedFiles), orphans.TotalSizeBytes
	return nil
}

const (
	// fileSize is what compaction aims at: about a day of 30,000 repositories
	// read every hour.
	fileSize = 128 << 20
	// batchGroups and batchTime bound what is lost of a compaction that is killed.
	batchGroups = 32
	batchTime   = 5 * time.Second
	// maintainGC is how much garbage, in percent of what is held, may gather: less
	// than usual, for large files are in memory.
	maintainGC = 40
)

// compact rewrites days of which five files or more are small. A file is written
// before its commit is tried, once: what another writer adds meanwhile changes
// nothing about it.
func compact(ctx context.Context, c catalog.Catalog, t *table.Table, m *Maintenance, progress func(Maintenance)) error {
	cfg := compaction.DefaultConfig()
	cfg.TargetFileSizeBytes, cfg.MinFileSizeBytes, cfg.MaxFileSizeBytes = fileSize, fileSize*3/4, fileSize*9/5
	plan, err := compaction.Analyze(ctx, t, cfg)
	if err != nil {
		return err
	}
	m.Files = plan.TotalInputFiles
	var batch []table.CompactionGroupResult
	began := time.Now()
	for i, g := range plan.Groups {
		done, err := table.ExecuteCompactionGroup(ctx, t, table.CompactionTaskGroup{PartitionKey: g.PartitionKey, Tasks: g.Tasks, TotalSizeBytes: g.TotalSizeBytes},
			table.WithCompactionTargetFileSize(fileSize), table.WithCompactionParquetRowGroupLimit(rowGroup),
			table.WithCompactionScanConcurrency(1), table.WithCompactionArrowBatchSize(batchRows), table.WithCompactionRecordBatchBufferSize(2))
		if err != nil {
			return err
		}
		batch = append(batch, done)
		if i < len(plan.Groups)-1 && len(batch) < batchGroups && time.Since(began) < batchTime {
			continue
		}
		if err := replace(ctx, c, m, batch); err != nil {
			return err
		}
		progress(*m)
		batch, began = nil, time.Now()
	}
	return nil
}

// replace commits what compaction has written. A group of which somebody else
// has taken away a file meanwhile is left out: what it has written is an orphan.
func replace(ctx context.Context, c catalog.Catalog, m *Maintenance, batch []table.CompactionGroupResult) error {
	var removed, added int
	err := amend(ctx, c, m.Table, func(t *table.Table, tx *table.Transaction, props iceberg.Properties) error {
		files, err := t.Scan().PlanFiles(ctx)
		if err != nil {
			return err
		}
		present := map[string]bool{}
		for _, f := range files {
			present[f.File.FilePath()] = true
		}
		removed, added = 0, 0
		rewrite := tx.NewRewrite(props)
		for _, g := range batch {
			if slices.ContainsFunc(g.OldDataFiles, func(f iceberg.DataFile) bool { return !present[f.FilePath()] }) {
				continue
			}
			rewrite.ApplyResult(g)
			removed, added = removed+len(g.OldDataFiles), added+len(g.NewDataFiles)
		}
		if removed == 0 {
			return errNothing
		}
		return rewrite.Commit(ctx)
	})
	m.Compacted, m.Written = m.Compacted+removed, m.Written+added
	return err
}

// expire forgets the snapshots of a certain age, but never the current one, and
// deletes the files that only they knew.
func expire(ctx context.Context, c catalog.Catalog, age time.Duration, m *Maintenance) error {
	return amend(ctx, c, m.Table, func(t *table.Table, tx *table.Transaction, _ iceberg.Properties) error {
		m.Snapshots = 0
		before := time.Now().Add(-age).UnixMilli()
		for _, s := range t.Metadata().Snapshots() {
			if s.TimestampMs < before && s.SnapshotID != t.CurrentSnapshot().SnapshotID {
				m.Snapshots++
			}
		}
		if m.Snapshots == 0 {
			return errNothing
		}
		return tx.ExpireSnapshots(table.WithOlderThan(age), table.WithRetainLast(1))
	})
}

// maintenance is what a tick asks of the function. It ends with the request,
// wherever it stands; the next tick goes on from there.
func (s *shelf) maintenance(ctx context.Context, keep Keep) error {
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	return Maintain(ctx, c, keep, func(Maintenance) {})
}
