package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/lease"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// draft is days that were computed again and are not published yet, in both stores.
type draft struct {
	cold *sinkiceberg.Draft
	hot  *sinkclickhouse.Draft
}

func openDraft(ctx context.Context, s *stores, env map[string]string) (*draft, error) {
	at, err := serve.Load[coldConfig](ctx, env)
	if err != nil {
		return nil, err
	}
	cold, err := sinkiceberg.OpenDraft(ctx, s.cold, at.Location)
	if err != nil {
		return nil, err
	}
	hot, err := sinkclickhouse.OpenDraft(env["CLICKHOUSE_URL"], env["REDIS_URL"])
	if err != nil {
		return nil, errors.Join(err, cold.Close())
	}
	return &draft{cold, hot}, nil
}

// lock keeps other processes from the draft until release is called or the context
// that it returns has ended.
func (d *draft) lock(ctx context.Context) (context.Context, func(), error) {
	ctx, release, err := d.hot.Lock(ctx)
	if held := new(lease.Held); errors.As(err, &held) {
		return nil, nil, errors.New("another pulse reprocess is running")
	}
	return ctx, release, err
}

func (d *draft) close() {
	if err := errors.Join(d.cold.Close(), d.hot.Close()); err != nil {
		fmt.Println("close the draft:", err)
	}
}

func (d *draft) drop(ctx context.Context) error {
	return errors.Join(d.hot.Drop(ctx), d.cold.Drop(ctx))
}

// reprocessed is the outcome, and what is printed as JSON.
type reprocessed struct {
	From        string   `json:"from"`
	To          string   `json:"to"`
	Computed    int      `json:"days_computed"` // the others are from an earlier run
	Rows        int64    `json:"rows"`          // of all days
	Changed     []string `json:"changed_days"`  // in either store
	Published   bool     `json:"published"`
	Differences []string `json:"differences"` // that the audit found: nothing is published
	Seconds     float64  `json:"seconds"`
}

// days computes closed days again: write, audit, publish.
func (r *reprocessCommand) days(ctx context.Context, p *place, env map[string]string, s *stores, d *draft) error {
	from, to, err := r.span()
	if err != nil {
		return err
	}
	code, err := program()
	if err != nil {
		return err
	}
	began := time.Now()
	// Records that are still on their way would be missing from the days.
	waiting, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	if _, err := s.waitAtRest(waiting, p.home, stack.NewControl(env)); err != nil {
		return err
	}
	todo, err := d.cold.Begin(ctx, from, to, code)
	if err != nil {
		return err
	}
	bar := newBar("reprocess", "days")
	defer bar.Close()
	bar.ChangeMax64(int64(2*len(from.Until(to)) + len(todo)))
	out := reprocessed{From: string(from), To: string(to), Computed: len(todo), Changed: []string{}, Differences: []string{}}
	if err := d.write(ctx, todo, bar); err != nil {
		return err
	}
	if out.Differences, out.Rows, err = d.audit(ctx, from.Until(to), bar); err != nil {
		return err
	}
	switch {
	case len(out.Differences) > 0:
		if err := d.drop(ctx); err != nil {
			return err
		}
	case !r.Hold:
		if out.Changed, err = d.publish(ctx, r.Timeout, s, from.Until(to), bar); err != nil {
			return err
		}
		if err := d.drop(ctx); err != nil {
			return err
		}
		out.Published = true
	}
	out.Seconds = time.Since(began).Seconds()
	return r.report(out)
}

func (r *reprocessCommand) report(out reprocessed) error {
	if r.JSON {
		if err := printJSON(out); err != nil {
			return err
		}
	} else {
		fmt.Printf("%s to %s: %s rows, %s days computed in %.1f s\n", out.From, out.To, count(out.Rows), count(int64(out.Computed)), out.Seconds)
		switch {
		case len(out.Differences) > 0:
			for _, what := range out.Differences[:min(len(out.Differences), 20)] {
				fmt.Println("  " + what)
			}
			fmt.Println("The audit found differences: the draft is dropped, nothing is published.")
		case out.Published:
			fmt.Printf("published: %s days have changed\n", count(int64(len(out.Changed))))
		default:
			fmt.Println("audited and held: the same command without --hold publishes, --drop removes it")
		}
	}
	if len(out.Differences) > 0 {
		return exitStatus(1)
	}
	return nil
}

// span reads the days and refuses those that are not over.
func (r *reprocessCommand) span() (from, to sinkiceberg.Day, err error) {
	if r.To == "" {
		r.To = r.From
	}
	for _, day := range []string{r.From, r.To} {
		if at, err := time.Parse(time.DateOnly, day); err != nil || at.Format(time.DateOnly) != day {
			return "", "", fmt.Errorf("invalid day %q: want YYYY-MM-DD", day)
		}
	}
	from, to = sinkiceberg.Day(r.From), sinkiceberg.Day(r.To)
	if today := sinkiceberg.DayOf(time.Now()); to >= today {
		return "", "", fmt.Errorf("day %s is not over: want one before %s", to, today)
	}
	return from, to, nil
}

// program identifies the code that computes: another program may make other rows.
func program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the path of pulse: %w", err)
	}
	f, err := os.Open(self)
	if err != nil {
		return "", fmt.Errorf("read the program of pulse: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read the program of pulse: %w", err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// write computes days, in order, from the observations before them.
func (d *draft) write(ctx context.Context, days []sinkiceberg.Day, bar *progressbar.ProgressBar) error {
	if len(days) == 0 {
		return nil
	}
	past := aggregate.NewPast()
	first := days[0].Plus(-aggregate.Reach)
	known, err := d.cold.Known(ctx, first)
	if err != nil {
		return err
	}
	for id, n := range known {
		past.Count(id, n)
	}
	for before := aggregate.Reach; before > 0; before-- {
		err := past.LearnDay(before, func(each func(*event.RepoObserved) error) error {
			return d.cold.Observations(ctx, days[0].Plus(-before), each)
		})
		if err != nil {
			return err
		}
	}
	rows := func(day sinkiceberg.Day) iter.Seq2[[]*event.RepoProcessed, error] { return d.compute(ctx, past, day) }
	for _, batch := range d.cold.Batches(days) {
		if err := d.cold.Write(ctx, batch, rows); err != nil {
			return err
		}
		_ = bar.Add(len(batch)) // a bar that cannot be drawn stops nothing
	}
	return nil
}

// compute makes the rows of a day, for a share of its repositories at a time, so
// that a day of any size fits into memory.
func (d *draft) compute(ctx context.Context, past *aggregate.Past, day sinkiceberg.Day) iter.Seq2[[]*event.RepoProcessed, error] {
	return func(yield func([]*event.RepoProcessed, error) bool) {
		shares := uint64(d.cold.Size(day)/sinkiceberg.DraftChunk + 1)
		now := time.Now().UTC().Truncate(time.Millisecond)
		for share := range shares {
			var observations []*event.RepoObserved
			err := d.cold.Observations(ctx, day, func(o *event.RepoObserved) error {
				if uint64(o.ID)%shares == share {
					observations = append(observations, o)
				}
				return nil
			})
			if err != nil {
				yield(nil, err)
				return
			}
			slices.SortFunc(observations, func(a, b *event.RepoObserved) int { return a.ObservedAt.Compare(b.ObservedAt) })
			rows := make([]*event.RepoProcessed, 0, len(observations))
			for _, o := range observations {
				row, known, err := past.Compute(o, now)
				if err != nil {
					yield(nil, err)
					return
				}
				if !known {
					rows = append(rows, row)
				}
			}
			if len(rows) > 0 && !yield(rows, nil) {
				return
			}
		}
	}
}

// audit checks what was written to Iceberg, writes it to ClickHouse too, and checks
// that.
func (d *draft) audit(ctx context.Context, days []sinkiceberg.Day, bar *progressbar.ProgressBar) (differences []string, rows int64, err error) {
	if err := d.hot.Begin(ctx); err != nil {
		return nil, 0, err
	}
	wrote := map[string]int64{}
	var pending []*event.RepoProcessed
	differences, err = d.cold.Audit(ctx, func(day sinkiceberg.Day, some []*event.RepoProcessed) error {
		if wrote[string(day)] == 0 {
			_ = bar.Add(1) // a bar that cannot be drawn stops nothing
		}
		wrote[string(day)] += int64(len(some))
		rows += int64(len(some))
		if pending = append(pending, some...); len(pending) < sinkiceberg.DraftChunk {
			return nil
		}
		err := d.hot.Write(ctx, pending)
		pending = pending[:0]
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	if err := d.hot.Write(ctx, pending); err != nil {
		return nil, 0, err
	}
	have, err := d.hot.Count(ctx, names(days))
	if err != nil {
		return nil, 0, err
	}
	for _, day := range names(days) {
		if n := (sinkclickhouse.DraftDay{Rows: wrote[day], Distinct: wrote[day]}); have[day] != n {
			differences = append(differences, fmt.Sprintf("%s: ClickHouse's draft has %d rows of %d observations, want %d",
				day, have[day].Rows, have[day].Distinct, wrote[day]))
		}
	}
	return differences, rows, nil
}

// publish overwrites the days, first in Iceberg, then in ClickHouse.
func (d *draft) publish(ctx context.Context, timeout time.Duration, s *stores, days []sinkiceberg.Day, bar *progressbar.ProgressBar) ([]string, error) {
	changed := map[string]bool{}
	cold, err := d.cold.Publish(ctx)
	if err != nil {
		return nil, err
	}
	for _, day := range cold {
		changed[string(day)] = true
	}
	ends, err := kafka.Ends(ctx, s.kafka, event.TopicProcessedRepos)
	if err != nil {
		return nil, err
	}
	var partitions []int32
	for p := range ends {
		partitions = append(partitions, p.Number)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	hot, err := d.hot.Publish(ctx, partitions, names(days), func(string) { _ = bar.Add(1) })
	if err != nil {
		return nil, fmt.Errorf("publish in ClickHouse, which is done in part (run the command again): %w", err)
	}
	for _, day := range hot {
		changed[day] = true
	}
	return sorted(changed), nil
}

func names(days []sinkiceberg.Day) []string {
	out := make([]string, len(days))
	for i, day := range days {
		out[i] = string(day)
	}
	return out
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for name := range set {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
