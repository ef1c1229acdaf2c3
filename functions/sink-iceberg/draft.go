package sinkiceberg

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"slices"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// tableDraft holds rows that are not published.
const tableDraft = "processed_repos_draft"

// planKey is the property of the draft in which its plan is.
const planKey = "m7pulse.draft"

// maxDays bounds the days of one draft: each has a line in the plan.
const maxDays = 1_100

// DraftChunk is how many rows are held at once, about 3 KB each.
const DraftChunk = 50_000

// Draft is the rows of processed_repos of some days, computed again from
// base_repos: written apart, audited, and only then published, all in one commit
// of processed_repos. In a Nessie catalog it is in a branch of its own, else in a
// table beside the others. There is one draft at a time.
//
// An interrupted draft is continued where it was left. A day is written again only if
// something that it was computed from has changed: the program, or a file of
// base_repos.
type Draft struct {
	main   catalog.Catalog // the published tables
	branch *branch         // or nil
	own    catalog.Catalog // where the draft is: main or the branch, or nil before the branch is made
	close  func() error    // of own
	days   tableStore[event.RepoProcessed]

	base  dated // one snapshot: what the draft is computed from
	there dated // one snapshot of processed_repos
	plan  plan
}

// plan is which days a draft has, and which of them are written.
type plan struct {
	From Day             `json:"from"`
	To   Day             `json:"to"`
	Code string          `json:"code"` // the program that computes
	Done map[Day]written `json:"done"`
}

// written is what a day of the draft was written from.
type written struct {
	Inputs string        `json:"inputs"` // all that the day was computed from
	Tally  account.Tally `json:"tally"`
}

// ErrNoDraft: no draft has been begun.
var ErrNoDraft = errors.New("there is no draft")

// OpenDraft returns the draft of the catalog at a location, which may be empty; main
// is that catalog, opened. Close closes it.
func OpenDraft(ctx context.Context, main catalog.Catalog, at Location) (*Draft, error) {
	cols := processedColumns()
	d := &Draft{main: main, days: tableStore[event.RepoProcessed]{columns: cols, layout: layout{tableDraft, schemaOf(cols), "processed_at"}}}
	var err error
	if d.branch, err = branchOf(ctx, at); err != nil {
		return nil, err
	}
	if d.branch == nil {
		d.own = main
		return d, nil
	}
	if hash, err := d.branch.head(ctx, draftBranch); err != nil || hash == "" {
		return d, err
	}
	return d, d.enter(ctx)
}

// enter opens the branch.
func (d *Draft) enter(ctx context.Context) (err error) {
	d.own, d.close, err = Open(ctx, d.branch.location)
	return err
}

// Close closes the catalog of the branch.
func (d *Draft) Close() error {
	if d.close == nil {
		return nil
	}
	return d.close()
}

// purger is a catalog that deletes a table's files with it.
type purger interface {
	PurgeTable(context.Context, table.Identifier) error
}

// Drop removes the draft. What is published stays as it is.
func (d *Draft) Drop(ctx context.Context) error {
	var err error
	if d.branch != nil {
		err = d.branch.drop(ctx)
	} else if c, ok := d.main.(purger); !ok {
		err = errors.New("the catalog cannot purge a table")
	} else if err = c.PurgeTable(ctx, table.Identifier{namespace, tableDraft}); errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("drop the draft: %w", err)
	}
	return nil
}

// load returns the draft's table with its plan, or ErrNoDraft.
func (d *Draft) load(ctx context.Context) (*table.Table, plan, error) {
	if d.own == nil {
		return nil, plan{}, ErrNoDraft
	}
	t, err := loadTable(ctx, d.own, tableDraft)
	if err != nil || t == nil {
		return nil, plan{}, cmp.Or(err, ErrNoDraft)
	}
	p := plan{Done: map[Day]written{}}
	if text := t.Properties()[planKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return nil, plan{}, fmt.Errorf("read the plan of the draft: %w", err)
		}
	}
	return t, p, nil
}

// Begin begins the draft of some days, or continues it. It returns the days that are
// to be written, in order: the first that is missing or out of date, and all after it.
func (d *Draft) Begin(ctx context.Context, from, to Day, code string) ([]Day, error) {
	if days := to.Begins().Sub(from.Begins()).Hours()/24 + 1; days < 1 || days > maxDays {
		return nil, fmt.Errorf("days %s to %s: want 1 to %d days", from, to, maxDays)
	}
	var err error
	if d.base, err = dates(ctx, d.main, TableBase); err != nil {
		return nil, err
	}
	if d.there, err = dates(ctx, d.main, TableProcessed); err != nil {
		return nil, err
	}
	_, p, err := d.load(ctx)
	if err != nil && !errors.Is(err, ErrNoDraft) {
		return nil, err
	}
	if p.From != "" && (p.From != from || p.To != to) {
		return nil, fmt.Errorf("there is a draft of %s to %s already: finish it, or drop it", p.From, p.To)
	}
	if p.From == "" {
		p = plan{From: from, To: to, Done: map[Day]written{}}
		if d.own == nil {
			if err := d.branch.create(ctx); err != nil {
				return nil, err
			}
			if err := d.enter(ctx); err != nil {
				return nil, err
			}
		}
	}
	if _, err := ensure(ctx, d.own, d.days.layout); err != nil {
		return nil, err
	}
	d.plan = p
	all := from.Until(to)
	for i, day := range all {
		if p.Code != code || p.Done[day].Inputs != d.inputs(day) {
			d.plan.Code = code
			return all[i:], nil
		}
	}
	return nil, nil
}

// reach is how many earlier days a day is computed from. It is more than any window
// needs.
const reach = 62

// inputs names the files of base_repos that a day is computed from.
func (d *Draft) inputs(day Day) string {
	var paths []string
	for _, t := range d.base.within(day.Plus(-reach), day) {
		paths = append(paths, t.File.FilePath())
	}
	slices.Sort(paths)
	h := fnv.New128a()
	for _, p := range paths {
		fmt.Fprintln(h, p)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Known counts each repository's observations before a day.
func (d *Draft) Known(ctx context.Context, before Day) (map[int64]int64, error) {
	n := map[int64]int64{}
	columns := slices.DeleteFunc(observedColumns(), func(c column[event.RepoObserved]) bool { return c.name != "repo_id" && c.name != "observed_at" })
	err := readFiles(ctx, d.base.table, columns, d.base.within("", before.Plus(-1)), func(rows []*event.RepoObserved) error {
		for _, o := range rows {
			if o.ObservedAt.Before(before.Begins()) {
				n[o.ID]++
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count what is before %s: %w", before, err)
	}
	return n, nil
}

// Observations reads those of a day, in some order.
func (d *Draft) Observations(ctx context.Context, day Day, each func(*event.RepoObserved) error) error {
	err := readFiles(ctx, d.base.table, observedColumns(), d.base.within(day, day), func(rows []*event.RepoObserved) error {
		for _, o := range rows {
			if DayOf(o.ObservedAt) != day {
				continue
			}
			if err := each(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the observations of %s: %w", day, err)
	}
	return nil
}

// Size is an upper estimate of the number of observations of a day.
func (d *Draft) Size(day Day) (n int64) {
	for _, t := range d.base.within(day, day) {
		n += t.File.Count()
	}
	return n
}

func observedColumns() []column[event.RepoObserved] {
	return observationColumns(func(o *event.RepoObserved) *repo.Observation { return o })
}

// Batches splits days into parts that are each large enough for a commit.
func (d *Draft) Batches(days []Day) (out [][]Day) {
	const most = 31
	var rows int64
	for _, day := range days {
		n := d.Size(day)
		if last := len(out) - 1; last >= 0 && rows+n <= DraftChunk && len(out[last]) < most {
			out[last], rows = append(out[last], day), rows+n
			continue
		}
		out, rows = append(out, []Day{day}), n
	}
	return out
}

// Write writes the rows of consecutive days, in place of those that the draft may have
// of them, in one commit. It is safe to repeat. A row that is published keeps the time
// at which it was processed, and so its partition.
func (d *Draft) Write(ctx context.Context, days []Day, rows func(Day) iter.Seq2[[]*event.RepoProcessed, error]) error {
	stamps, err := d.stamps(ctx, days)
	if err != nil {
		return err
	}
	t, _, err := d.load(ctx)
	if err != nil {
		return err
	}
	var fresh []iceberg.DataFile
	summer := account.NewSummer()
	for _, day := range days {
		w := written{Inputs: d.inputs(day)}
		for chunk, err := range rows(day) {
			if err != nil {
				return err
			}
			for _, p := range chunk {
				if at, ok := stamps[p.Key()]; ok {
					p.ProcessedAt = at
				}
				w.Tally.Rows++
				w.Tally.Distinct++
				sums := summer.Processed(p)
				w.Tally.Observed += sums.Observed
				w.Tally.Details += sums.Details
				w.Tally.Velocity += sums.Velocity
			}
			slices.SortStableFunc(chunk, func(a, b *event.RepoProcessed) int { return a.ProcessedAt.Compare(b.ProcessedAt) })
			files, err := d.days.write(ctx, t, chunk)
			if err != nil {
				return err
			}
			fresh = append(fresh, files...)
		}
		d.plan.Done[day] = w
	}
	text, err := json.Marshal(d.plan)
	if err != nil {
		return fmt.Errorf("encode the plan of the draft: %w", err)
	}
	from, to := days[0], days[len(days)-1]
	err = amend(ctx, d.own, tableDraft, func(t *table.Table, tx *table.Transaction, props iceberg.Properties) error {
		now, err := datesOf(ctx, t)
		if err != nil {
			return err
		}
		if err := replaceFiles(ctx, tx, now.within(from, to), fresh, props); err != nil { // a file has the rows of one day
			return err
		}
		return tx.SetProperties(iceberg.Properties{planKey: string(text)})
	})
	if err != nil {
		return fmt.Errorf("write %s to %s of the draft: %w", from, to, err)
	}
	return nil
}

func replaceFiles(ctx context.Context, tx *table.Transaction, old []table.FileScanTask, fresh []iceberg.DataFile, props iceberg.Properties) error {
	var gone []iceberg.DataFile
	for _, f := range old {
		gone = append(gone, f.File)
	}
	if len(gone) == 0 && len(fresh) == 0 {
		return nil
	}
	if len(gone) == 0 {
		return tx.AddDataFiles(ctx, fresh, props, table.WithoutDuplicateCheck())
	}
	return tx.ReplaceDataFilesWithDataFiles(ctx, gone, fresh, props)
}

// stamps returns when the published rows of some days were processed.
func (d *Draft) stamps(ctx context.Context, days []Day) (map[repo.Key]time.Time, error) {
	columns := slices.DeleteFunc(processedColumns(), func(c column[event.RepoProcessed]) bool {
		return c.name != "repo_id" && c.name != "observed_at" && c.name != "processed_at"
	})
	at := map[repo.Key]time.Time{}
	from, to := days[0], days[len(days)-1]
	err := readFiles(ctx, d.there.table, columns, d.there.within(from, to), func(rows []*event.RepoProcessed) error {
		for _, p := range rows {
			day := DayOf(p.ObservedAt)
			if was, ok := at[p.Key()]; day >= from && day <= to && (!ok || p.ProcessedAt.Before(was)) {
				at[p.Key()] = p.ProcessedAt
			}
		}
		return nil
	})
	return at, err
}

// Audit compares the draft with what base_repos holds now and with what was
// computed: each observation of its days once, with the velocities that were
// computed for it. It passes the rows of each day to each, and returns all
// differences.
func (d *Draft) Audit(ctx context.Context, each func(Day, []*event.RepoProcessed) error) (differences []string, err error) {
	t, p, err := d.load(ctx)
	if err != nil {
		return nil, err
	}
	d.plan = p
	base, err := dates(ctx, d.main, TableBase)
	if err != nil {
		return nil, err
	}
	draft, err := datesOf(ctx, t)
	if err != nil {
		return nil, err
	}
	summer := account.NewSummer()
	for _, day := range p.From.Until(p.To) {
		raw, have := account.NewCount(), account.NewCount()
		err := readFiles(ctx, base.table, observedColumns(), base.within(day, day), func(rows []*event.RepoObserved) error {
			for _, o := range rows {
				if DayOf(o.ObservedAt) == day {
					raw.Add(o.Key(), "", summer.Observed(o))
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the observations of %s: %w", day, err)
		}
		err = readFiles(ctx, t, processedColumns(), draft.within(day, day), func(rows []*event.RepoProcessed) error {
			for _, p := range rows {
				have.Add(p.Key(), "", summer.Processed(p))
			}
			return each(day, rows)
		})
		if err != nil {
			return nil, fmt.Errorf("read %s of the draft: %w", day, err)
		}
		there, err := have.Account()
		if err != nil {
			return nil, fmt.Errorf("count %s of the draft: %w", day, err)
		}
		expected, err := raw.Account()
		if err != nil {
			return nil, fmt.Errorf("count the observations of %s: %w", day, err)
		}
		want, got, made := expected.Total, there.Total, p.Done[day].Tally
		switch {
		case got.Duplicates() != 0:
			differences = append(differences, fmt.Sprintf("%s: %d rows are there twice", day, got.Duplicates()))
		case got.Distinct != want.Distinct || got.Observed != want.Observed || got.Details != want.Details:
			differences = append(differences, fmt.Sprintf("%s: %d rows for %d observations, or not of the same", day, got.Distinct, want.Distinct))
		case got != made:
			differences = append(differences, fmt.Sprintf("%s: the rows are not those that were computed", day))
		}
	}
	return differences, nil
}
