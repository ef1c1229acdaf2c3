package sinkiceberg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/apache/iceberg-go/table/compaction"
	"github.com/google/uuid"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// Keep is how old something must be for maintenance to delete it.
type Keep struct {
	// Snapshots may be read by somebody: a long scan, a query of the past.
	Snapshots time.Duration `env:"SINK_ICEBERG_KEEP_SNAPSHOTS" envDefault:"168h"`
	// Orphans are files of no snapshot. A young one may belong to a commit that
	// is still being made.
	Orphans time.Duration `env:"SINK_ICEBERG_KEEP_ORPHANS" envDefault:"72h"`
}

// leastOrphanAge is longer than any commit takes.
const leastOrphanAge = time.Hour

// Validate returns all that is wrong with the ages.
func (k Keep) Validate() (errs *apis.FieldError) {
	if k.Snapshots < 0 {
		errs = errs.Also(apis.ErrInvalidValue(k.Snapshots, "SINK_ICEBERG_KEEP_SNAPSHOTS"))
	}
	if k.Orphans < leastOrphanAge {
		errs = errs.Also(apis.ErrInvalidValue(k.Orphans, "SINK_ICEBERG_KEEP_ORPHANS", "less than 1h: a commit may be on its way"))
	}
	return errs
}

// Maintenance is the result of the maintenance of a table.
type Maintenance struct {
	Table       string `json:"table"`
	Files       int    `json:"files"`          // data files before
	Compacted   int    `json:"compacted"`      // of these, replaced
	Written     int    `json:"written"`        // by these
	Left        int    `json:"left,omitempty"` // small files that there was no time for
	Snapshots   int    `json:"snapshots"`      // expired
	Orphans     int    `json:"orphans"`        // deleted files of no snapshot
	OrphanBytes int64  `json:"orphan_bytes"`
	Kept        string `json:"kept,omitempty"` // why snapshots and orphans were left alone
}

// Maintain merges small files, day by day, expires old snapshots and deletes orphans.
// No row changes, and every commit repeats how far the topic is stored. It may be
// stopped at any point, is safe to repeat, and may run beside the sink: of two
// concurrent commits one is tried again. progress is called after each commit and at
// the end of each table.
//
// A catalog with garbage collection of its own, such as Nessie, sets gc.enabled=false:
// there snapshots and orphans are left to it.
func Maintain(ctx context.Context, c catalog.Catalog, keep Keep, progress func(Maintenance)) error {
	if errs := keep.Validate(); errs != nil {
		return errs
	}
	defer serve.Memory{Garbage: maintainGC}.Set()()
	for _, name := range Tables() {
		m := Maintenance{Table: name}
		if err := compact(ctx, c, &m, &deadline{}, progress); err != nil {
			return fmt.Errorf("maintain %s: %w", name, err)
		}
		if err := clean(ctx, c, keep, &m); err != nil {
			return fmt.Errorf("maintain %s: %w", name, err)
		}
		progress(m)
	}
	return nil
}

// Preview returns what Maintain would do now, and does nothing: of a table's small files
// how many would be replaced by about how many, of its snapshots how many expire. Orphans
// are those that are there now; what only the expired snapshots have goes with these.
func Preview(ctx context.Context, c catalog.Catalog, keep Keep) (all []Maintenance, err error) {
	if errs := keep.Validate(); errs != nil {
		return nil, errs
	}
	for _, name := range Tables() {
		m := Maintenance{Table: name}
		if err := preview(ctx, c, keep, &m); err != nil {
			return all, fmt.Errorf("preview the maintenance of %s: %w", name, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func preview(ctx context.Context, c catalog.Catalog, keep Keep, m *Maintenance) error {
	t, err := loadTable(ctx, c, m.Table)
	if err != nil || t == nil {
		return err
	}
	plan, err := compaction.Analyze(ctx, t, compactionConfig())
	if err != nil {
		return fmt.Errorf("look for small files: %w", err)
	}
	m.Files = plan.TotalInputFiles
	for _, g := range plan.Groups {
		m.Compacted += len(g.Tasks)
	}
	m.Written = plan.EstOutputFiles
	if t.Properties()["gc.enabled"] == "false" {
		m.Kept = leftToCatalog
		return nil
	}
	m.Snapshots = outlived(t, keep.Snapshots)
	orphans, err := t.DeleteOrphanFiles(ctx, table.WithFilesOlderThan(keep.Orphans), table.WithDryRun(true))
	if err != nil {
		return fmt.Errorf("look for orphans: %w", err)
	}
	m.Orphans, m.OrphanBytes = len(orphans.OrphanFiles), orphans.TotalSizeBytes
	return nil
}

// Tables are the names of all tables of the namespace.
func Tables() []string {
	return []string{TableBase, TableProcessed, TableSweeps, TableEvents, TableFeedReads, TableSignals}
}

// maintainFor is Maintain within a limited time. It cleans first, for that takes
// little, and compacts in steps that are each committed. Each table has a share of
// the time, and what one does not use is left to those after it. The rest is done the
// next time; that time runs out is no error.
func maintainFor(ctx context.Context, c catalog.Catalog, keep Keep, limit time.Duration) ([]Maintenance, error) {
	defer serve.Memory{Garbage: maintainGC}.Set()()
	ends := time.Now().Add(limit)
	var all []Maintenance
	names := Tables()
	turn := int(time.Now().Unix()/3600) % len(names) // the last of them may have most of the time
	for _, name := range slices.Concat(names[turn:], names[:turn]) {
		all = append(all, Maintenance{Table: name})
	}
	var errs []error
	share := func(of time.Duration, parts int, do func(context.Context) error) {
		within, cancel := context.WithTimeout(ctx, of/time.Duration(parts))
		defer cancel()
		if err := do(within); err != nil && within.Err() == nil {
			errs = append(errs, err)
		}
	}
	for i := range all {
		share(time.Until(ends)/2, len(all)-i, func(ctx context.Context) error {
			if err := clean(ctx, c, keep, &all[i]); err != nil {
				return fmt.Errorf("maintain %s: %w", all[i].Table, err)
			}
			return nil
		})
	}
	for i := range all {
		share(time.Until(ends), len(all)-i, func(ctx context.Context) error {
			until, _ := ctx.Deadline()
			writing := time.Until(until) * 3 / 4 // and the rest to commit
			if err := compact(ctx, c, &all[i], &deadline{until: time.Now().Add(writing)}, func(Maintenance) {}); err != nil {
				return fmt.Errorf("maintain %s: %w", all[i].Table, err)
			}
			return nil
		})
	}
	return all, errors.Join(errs...)
}

// leftToCatalog is why a table's snapshots and orphans are left alone.
const leftToCatalog = "gc.enabled=false: the catalog's own collector expires snapshots and deletes files"

// clean expires the old snapshots of a table and deletes its orphans.
func clean(ctx context.Context, c catalog.Catalog, keep Keep, m *Maintenance) error {
	t, err := loadTable(ctx, c, m.Table)
	if err != nil || t == nil {
		return err
	}
	if t.Properties()["gc.enabled"] == "false" {
		m.Kept = leftToCatalog
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
	// batchGroups and batchTime bound the work that is lost when a compaction is killed.
	batchGroups = 32
	batchTime   = 5 * time.Second
	// maintainGC is GOGC during maintenance: lower than usual, for large files are in
	// memory.
	maintainGC = 40
)

func compactionConfig() compaction.Config {
	cfg := compaction.DefaultConfig()
	cfg.TargetFileSizeBytes, cfg.MinFileSizeBytes, cfg.MaxFileSizeBytes = fileSize, fileSize*3/4, fileSize*9/5
	return cfg
}

// compact rewrites days that have five small files or more. A file is written once,
// before its commit is tried: what another writer adds meanwhile does not affect it.
func compact(ctx context.Context, c catalog.Catalog, m *Maintenance, p *deadline, progress func(Maintenance)) error {
	t, err := loadTable(ctx, c, m.Table)
	if err != nil || t == nil {
		return err
	}
	if err := compactAsOf(ctx, c, t, m, p, progress); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

func compactAsOf(ctx context.Context, c catalog.Catalog, t *table.Table, m *Maintenance, p *deadline, progress func(Maintenance)) error {
	plan, err := compaction.Analyze(ctx, t, compactionConfig())
	if err != nil {
		return err
	}
	m.Files = plan.TotalInputFiles
	var batch []table.CompactionGroupResult
	began := time.Now()
	commit := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := replace(ctx, c, m, batch)
		batch, began = nil, time.Now()
		progress(*m)
		return err
	}
	for _, g := range plan.Groups {
		rest := slices.SortedFunc(slices.Values(g.Tasks), func(a, b table.FileScanTask) int {
			return cmp.Compare(a.File.FileSizeBytes(), b.File.FileSizeBytes())
		})
		for len(rest) > 0 {
			step := rest[:p.next(rest)]
			if len(step) < 2 {
				break // alone it would be rewritten unchanged
			}
			done, err := p.rewrite(ctx, t, g.PartitionKey, step)
			if errors.Is(err, errNoTime) {
				break
			}
			if err != nil {
				return errors.Join(err, commit())
			}
			batch, rest = append(batch, done), rest[len(step):]
			if len(batch) >= batchGroups || time.Since(began) >= batchTime || !p.until.IsZero() {
				if err := commit(); err != nil {
					return err
				}
			}
		}
		m.Left += len(rest)
	}
	return commit()
}

// deadline cuts compaction into steps that can be done in time. The zero deadline is
// never reached: a group is one step.
type deadline struct {
	until time.Time

	work int64 // what was done, in bytes
	took time.Duration
}

const (
	// firstStep is how much is rewritten first, to measure how long that takes.
	firstStep = 8 << 20
	// leastWork is what even the smallest file counts as, in bytes.
	leastWork = 256 << 10
)

// errNoTime: a step was not done in time. Its files were deleted.
var errNoTime = errors.New("no time is left")

func workOf(f table.FileScanTask) int64 { return max(f.File.FileSizeBytes(), leastWork) }

// next returns how many of some files, the smallest first, the next step rewrites: as
// many as half of the time that is left allows. The very first step is always done, or
// a slow store would never be compacted.
func (p *deadline) next(files []table.FileScanTask) (n int) {
	if p.until.IsZero() {
		return len(files)
	}
	left := time.Until(p.until)
	if left <= 0 {
		return 0
	}
	room := float64(firstStep)
	if p.took > 0 {
		room = float64(p.work) / p.took.Seconds() * left.Seconds() / 2
	}
	for n < len(files) && float64(workOf(files[n])) <= room {
		room -= float64(workOf(files[n]))
		n++
	}
	if p.took == 0 {
		n = max(n, min(2, len(files)))
	}
	return n
}

// rewrite writes the rows of some files to one file, or to a few. After an error it
// has deleted what it wrote.
func (p *deadline) rewrite(ctx context.Context, t *table.Table, partition string, tasks []table.FileScanTask) (table.CompactionGroupResult, error) {
	within, cancel := ctx, context.CancelFunc(func() {})
	if !p.until.IsZero() {
		within, cancel = context.WithDeadline(ctx, p.until)
	}
	defer cancel()
	began, id := time.Now(), uuid.New()
	done, err := rewrite(within, t, id, partition, tasks)
	for _, f := range tasks {
		p.work += workOf(f)
	}
	p.took += time.Since(began)
	if err == nil {
		return done, nil
	}
	err = errors.Join(err, discard(ctx, t, id, tasks))
	if ctx.Err() == nil && within.Err() != nil {
		err = fmt.Errorf("%w: %w", errNoTime, err)
	}
	return done, err
}

// rewrite is table.ExecuteCompactionGroup, but with file names that are known
// beforehand.
func rewrite(ctx context.Context, t *table.Table, id uuid.UUID, partition string, tasks []table.FileScanTask) (done table.CompactionGroupResult, err error) {
	schema, rows, err := t.Scan(table.WithMaxConcurrency(1), table.WithArrowBatchSize(batchRows)).ReadTasks(ctx, tasks)
	if err != nil {
		return done, fmt.Errorf("read %d files: %w", len(tasks), err)
	}
	done = table.CompactionGroupResult{
		PartitionKey: partition, SafePosDeletes: table.CollectSafePositionDeletes(tasks), SafeDeletionVectors: table.CollectSafeDeletionVectors(tasks),
	}
	for _, task := range tasks {
		done.OldDataFiles = append(done.OldDataFiles, task.File)
		done.BytesBefore += task.File.FileSizeBytes()
	}
	for f, err := range table.WriteRecords(ctx, t, schema, rows, table.WithWriteUUID(id), table.WithClusteredWrite(),
		table.WithTargetFileSize(fileSize), table.WithParquetRowGroupLimit(rowGroup), table.WithRecordBatchBufferSize(2)) {
		if err != nil {
			return done, fmt.Errorf("write the rows of %d files: %w", len(tasks), err)
		}
		done.NewDataFiles = append(done.NewDataFiles, f)
		done.BytesAfter += f.FileSizeBytes()
	}
	return done, nil
}

// discardLimit is how long the cleanup after a failed try may take.
const discardLimit = 2 * time.Second

// discard deletes what was written under an id beside some files, complete or not.
func discard(ctx context.Context, t *table.Table, id uuid.UUID, beside []table.FileScanTask) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardLimit)
	defer cancel()
	files, err := t.FS(ctx)
	if err != nil {
		return fmt.Errorf("delete what was written: %w", err)
	}
	listable, ok := files.(iceio.ListableIO)
	if !ok {
		return nil // they are deleted as orphans
	}
	folders := map[string]bool{}
	for _, f := range beside {
		folders[f.File.FilePath()[:strings.LastIndex(f.File.FilePath(), "/")]] = true
	}
	var written []string
	for folder := range folders {
		err := listable.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(path, id.String()) {
				written = append(written, path)
			}
			return errors.Join(err, ctx.Err())
		})
		if err != nil {
			return fmt.Errorf("delete what was written: %w", err)
		}
	}
	return remove(files, written)
}

func remove(files iceio.IO, paths []string) (err error) {
	for _, path := range paths {
		if e := files.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("delete what was written: %w", e))
		}
	}
	return err
}

// replace commits what compaction has written. A group that has lost a file to another
// writer meanwhile is left out. Written files that are certainly in no commit are
// deleted.
func replace(ctx context.Context, c catalog.Catalog, m *Maintenance, batch []table.CompactionGroupResult) error {
	var removed, added int
	var unused []string
	var in *table.Table
	err := amend(ctx, c, m.Table, func(t *table.Table, tx *table.Transaction, props iceberg.Properties) error {
		files, err := t.Scan().PlanFiles(ctx)
		if err != nil {
			return err
		}
		present := map[string]bool{}
		for _, f := range files {
			present[f.File.FilePath()] = true
		}
		in, removed, added, unused = t, 0, 0, nil
		rewrite := tx.NewRewrite(props)
		for _, g := range batch {
			if slices.ContainsFunc(g.OldDataFiles, func(f iceberg.DataFile) bool { return !present[f.FilePath()] }) {
				for _, f := range g.NewDataFiles {
					if !present[f.FilePath()] { // or an earlier try succeeded
						unused = append(unused, f.FilePath())
					}
				}
				continue
			}
			rewrite.ApplyResult(g)
			removed, added = removed+len(g.OldDataFiles), added+len(g.NewDataFiles)
		}
		if removed == 0 {
			return errNoChange
		}
		return rewrite.Commit(ctx)
	})
	if err != nil {
		return err // whether it was committed may be unknown
	}
	m.Compacted, m.Written = m.Compacted+removed, m.Written+added
	if len(unused) == 0 {
		return nil
	}
	files, err := in.FS(ctx)
	if err != nil {
		return fmt.Errorf("delete what was written: %w", err)
	}
	return remove(files, unused)
}

// expire removes snapshots of a certain age, but never the current one, and deletes
// the files that only they refer to.
func expire(ctx context.Context, c catalog.Catalog, age time.Duration, m *Maintenance) error {
	return amend(ctx, c, m.Table, func(t *table.Table, tx *table.Transaction, _ iceberg.Properties) error {
		if m.Snapshots = outlived(t, age); m.Snapshots == 0 {
			return errNoChange
		}
		return tx.ExpireSnapshots(table.WithOlderThan(age), table.WithRetainLast(1))
	})
}

// outlived counts the snapshots of a certain age, without the current one.
func outlived(t *table.Table, age time.Duration) (snapshots int) {
	before := time.Now().Add(-age).UnixMilli()
	for _, s := range t.Metadata().Snapshots() {
		if s.TimestampMs < before && s.SnapshotID != t.CurrentSnapshot().SnapshotID {
			snapshots++
		}
	}
	return snapshots
}

// tickTime is how long a tick's maintenance may take: a request is cut off at 20 s,
// and before that an interrupted step has to be cleaned up and the request answered.
const tickTime = 15 * time.Second

// maintenance is the task of a tick.
func (s *lazyCatalog) maintenance(ctx context.Context, keep Keep) error {
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	done, err := maintainFor(ctx, c, keep, tickTime)
	for _, m := range done {
		if m.Left > 0 {
			slog.Info("small files are left to the next maintenance", "table", m.Table, "files", m.Left, "compacted", m.Compacted)
		}
	}
	return err
}
