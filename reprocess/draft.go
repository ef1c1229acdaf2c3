// Package reprocess computes again what follows from the observations: the rows of
// closed days in both stores, and the histories in Redis.
package reprocess

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/lease"
)

// Draft is days that were computed again and are not published yet, in both stores.
type Draft struct {
	kafka kafka.Config
	cold  *sinkiceberg.Draft
	hot   *sinkclickhouse.Draft
}

// ErrRunning says that another process works on the draft.
var ErrRunning = errors.New("another pulse reprocess is running")

// OpenDraft opens the draft of a pipeline, which may be empty.
func OpenDraft(ctx context.Context, p *pipeline.Pipeline, env map[string]string) (*Draft, error) {
	at, err := pipeline.IcebergLocation(ctx, env)
	if err != nil {
		return nil, err
	}
	cold, err := sinkiceberg.OpenDraft(ctx, p.Cold, at)
	if err != nil {
		return nil, err
	}
	hot, err := sinkclickhouse.OpenDraft(env["CLICKHOUSE_URL"], env["REDIS_URL"])
	if err != nil {
		return nil, errors.Join(err, cold.Close())
	}
	return &Draft{p.Log.Kafka, cold, hot}, nil
}

// Lock keeps other processes from the draft until release is called or the context
// that it returns has ended. It fails with ErrRunning if one has the draft.
func (d *Draft) Lock(ctx context.Context) (context.Context, func(), error) {
	ctx, release, err := d.hot.Lock(ctx)
	if held := new(lease.Held); errors.As(err, &held) {
		return nil, nil, ErrRunning
	}
	return ctx, release, err
}

// Close ends the connections. The draft stays.
func (d *Draft) Close() error {
	if err := errors.Join(d.cold.Close(), d.hot.Close()); err != nil {
		return fmt.Errorf("close the draft: %w", err)
	}
	return nil
}

// Drop removes the draft. What is published stays as it is.
func (d *Draft) Drop(ctx context.Context) error {
	return errors.Join(d.hot.Drop(ctx), d.cold.Drop(ctx))
}

// Order says what to compute again.
type Order struct {
	From, To sinkiceberg.Day // closed days: no record of them may be on its way
	Hold     bool            // leave the audited draft unpublished
	Timeout  time.Duration   // of the wait for the sink of ClickHouse to be at rest
	// Check says which critical expectations the audited draft does not meet; nil: it is
	// not held against any.
	Check func(context.Context) (failures []string, err error)
}

// Outcome is what became of an order.
type Outcome struct {
	From        string   `json:"from"`
	To          string   `json:"to"`
	Computed    int      `json:"days_computed"` // the others are from an earlier run
	Rows        int64    `json:"rows"`          // of all days
	Changed     []string `json:"changed_days"`  // in either store
	Published   bool     `json:"published"`
	Differences []string `json:"differences"` // that the audit found: nothing is published
	Checked     bool     `json:"checked"`     // the draft was held against expectations
	Failures    []string `json:"failures"`    // critical ones that it does not meet: nothing is published, and the draft is kept
}

// Run writes the days, audits them, and publishes them. If the audit finds
// differences, it drops the draft instead; if the draft does not meet an expectation,
// it leaves it unpublished. It may be stopped and run again: days that
// the same program has computed before are not computed again. progress is called
// with the steps done and to do.
func (d *Draft) Run(ctx context.Context, o Order, progress func(done, all int)) (*Outcome, error) {
	code, err := program()
	if err != nil {
		return nil, err
	}
	todo, err := d.cold.Begin(ctx, o.From, o.To, code)
	if err != nil {
		return nil, err
	}
	days := o.From.Until(o.To)
	steps, done := 2*len(days)+len(todo), 0
	step := func(n int) {
		done += n
		progress(done, steps)
	}
	step(0)
	out := &Outcome{From: string(o.From), To: string(o.To), Computed: len(todo), Changed: []string{}, Differences: []string{}, Failures: []string{}}
	if err := d.write(ctx, todo, step); err != nil {
		return nil, err
	}
	if out.Differences, out.Rows, err = d.audit(ctx, days, step); err != nil {
		return nil, err
	}
	if len(out.Differences) > 0 {
		return out, d.Drop(ctx)
	}
	if o.Check != nil {
		out.Checked = true
		if failures, err := o.Check(ctx); err != nil || len(failures) > 0 {
			out.Failures = append(out.Failures, failures...)
			return out, err
		}
	}
	if o.Hold {
		return out, nil
	}
	if out.Changed, err = d.publish(ctx, o.Timeout, days, step); err != nil {
		return nil, err
	}
	if err := d.Drop(ctx); err != nil {
		return nil, err
	}
	out.Published = true
	return out, nil
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
func (d *Draft) write(ctx context.Context, days []sinkiceberg.Day, step func(int)) error {
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
		step(len(batch))
	}
	return nil
}

// compute makes the rows of a day, for a share of its repositories at a time, so
// that a day of any size fits into memory.
func (d *Draft) compute(ctx context.Context, past *aggregate.Past, day sinkiceberg.Day) iter.Seq2[[]*event.RepoProcessed, error] {
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
func (d *Draft) audit(ctx context.Context, days []sinkiceberg.Day, step func(int)) (differences []string, rows int64, err error) {
	if err := d.hot.Begin(ctx); err != nil {
		return nil, 0, err
	}
	wrote := map[string]int64{}
	var pending []*event.RepoProcessed
	differences, err = d.cold.Audit(ctx, func(day sinkiceberg.Day, some []*event.RepoProcessed) error {
		if wrote[string(day)] == 0 {
			step(1)
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
func (d *Draft) publish(ctx context.Context, timeout time.Duration, days []sinkiceberg.Day, step func(int)) ([]string, error) {
	changed := map[string]bool{}
	cold, err := d.cold.Publish(ctx)
	if err != nil {
		return nil, err
	}
	for _, day := range cold {
		changed[string(day)] = true
	}
	ends, err := kafka.Ends(ctx, d.kafka, event.TopicProcessedRepos)
	if err != nil {
		return nil, err
	}
	var partitions []int32
	for p := range ends {
		partitions = append(partitions, p.Number)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	hot, err := d.hot.Publish(ctx, partitions, names(days), func(string) { step(1) })
	if err != nil {
		return nil, fmt.Errorf("publish in ClickHouse, which is done in part (run the command again): %w", err)
	}
	for _, day := range hot {
		changed[day] = true
	}
	return slices.Sorted(maps.Keys(changed)), nil
}

func names(days []sinkiceberg.Day) []string {
	out := make([]string, len(days))
	for i, day := range days {
		out[i] = string(day)
	}
	return out
}
