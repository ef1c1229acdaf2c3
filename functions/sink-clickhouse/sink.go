package sinkclickhouse

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// stage names this function in dead letters.
const stage = "sink-clickhouse"

// repos stores RepoProcessed: the state of each repository, then the time
// series, then the marker.
//
// A block is atomic only within one table and partition, so a crash can leave
// part of it. The state table may take rows again: the same version replaces
// itself. The time series may not: after a Resume the rows beyond the marker
// are read, and left out when their records come again.
type repos struct {
	*store
	writer  *writer
	decoder *kafka.Decoder[row]
	letters *kgo.Client // writes dead letters

	marked     []kafka.Mark
	partitions []int32        // that are ours
	present    map[place]bool // in the time series, but beyond the marker; nil until read
}

// Resume implements kafka.Store.
func (r *repos) Resume(ctx context.Context, topic string, partitions []int32) ([]kafka.Mark, error) {
	marks, err := r.resume(ctx, r.writer, topic, partitions)
	if err != nil {
		return nil, err
	}
	r.marked, r.partitions, r.present = marks, partitions, nil
	return marks, nil
}

// resume makes this process the only writer of some partitions and reads the
// marks. A writer that cannot read them keeps nobody waiting: whoever rebuilds a
// store without markers has to come in.
func (s *store) resume(ctx context.Context, w *writer, topic string, partitions []int32) ([]kafka.Mark, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := w.take(ctx, partitions); err != nil {
		return nil, err
	}
	marks, err := s.marks(ctx, topic)
	if err != nil {
		return nil, errors.Join(err, w.leave())
	}
	return marks, nil
}

// Prepare implements kafka.Store.
func (r *repos) Prepare(ctx context.Context, topicID string, b kafka.Block) (func(context.Context) error, error) {
	rows, bad, err := r.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	for _, w := range rows {
		w.topicID = topicID
	}
	b.Records = nil // the rows hold all of it
	return func(ctx context.Context) error { return r.put(ctx, topicID, b, rows, bad) }, nil
}

func (r *repos) put(ctx context.Context, topicID string, b kafka.Block, rows []*row, bad kafka.Poison) error {
	if err := bad.Bury(ctx, r.letters, stage); err != nil {
		return err
	}
	if r.present == nil {
		present, err := r.beyond(ctx, topicID, r.marked, r.partitions)
		if err != nil {
			return err
		}
		r.present = present
	}
	series, err := r.fresh(ctx, rows)
	if err != nil {
		return err
	}
	err = r.writer.write(ctx, func(ctx context.Context) error {
		if err := r.add(ctx, "pulse.", rows, series); err != nil {
			return err
		}
		return r.commit(ctx, event.TopicProcessedRepos, topicID, b)
	})
	if err != nil {
		return err
	}
	r.decoder.GiveBack(rows)
	return nil
}

// reading reads a record and where it stands.
func reading(codec *event.Codec) func(context.Context, *kgo.Record, *row) error {
	return func(ctx context.Context, rec *kgo.Record, r *row) error {
		if r.RepoProcessed == nil {
			r.RepoProcessed = &event.RepoProcessed{}
		}
		r.partition, r.offset, r.mayRepeat = rec.Partition, rec.Offset, event.Repeats(rec)
		return codec.ProcessedInto(ctx, rec, r.RepoProcessed)
	}
}

// fresh keeps the rows that the time series lacks: neither their record is
// there, nor, where it may be a repeat, their observation.
func (r *repos) fresh(ctx context.Context, rows []*row) ([]*row, error) {
	var doubtful []repo.Key
	for _, w := range rows {
		if w.mayRepeat {
			doubtful = append(doubtful, w.Key())
		}
	}
	known, err := r.known(ctx, doubtful)
	if err != nil {
		return nil, err
	}
	out := make([]*row, 0, len(rows))
	for _, w := range rows {
		if r.present[place{w.partition, w.offset}] || known[w.Key()] {
			continue
		}
		known[w.Key()] = true
		out = append(out, w)
	}
	return out, nil
}

// add inserts rows into the tables of repositories, whose names begin with a
// prefix. The time series comes last: a row in it is in the others too.
func (s *store) add(ctx context.Context, prefix string, rows, series []*row) error {
	if err := insert(ctx, s, prefix+"github_processed_repos", stateColumns(), newest(rows, func(r *row) int64 { return r.ID })); err != nil {
		return err
	}
	type day struct{ repo, day int64 }
	daily := newest(rows, func(r *row) day { return day{r.ID, r.ObservedAt.Unix() / (24 * 60 * 60)} })
	if err := insert(ctx, s, prefix+"github_daily", dailyColumns(), daily); err != nil {
		return err
	}
	if err := insert(ctx, s, prefix+"github_pushes", pushColumns(), pushes(rows)); err != nil {
		return err
	}
	return insert(ctx, s, prefix+"github_metrics_timeseries", seriesColumns(), series)
}

// newest keeps of all rows with one key the one that wins in a table that
// replaces.
func newest[K comparable](rows []*row, key func(*row) K) []*row {
	best := map[K]*row{}
	for _, w := range rows {
		k := key(w)
		if b := best[k]; b == nil || w.version() >= b.version() {
			best[k] = w
		}
	}
	return slices.Collect(maps.Values(best))
}

// pushes keeps a row for each time of a last push.
func pushes(rows []*row) []*row {
	type push struct{ repo, at int64 }
	seen := map[push]bool{}
	var out []*row
	for _, w := range rows {
		if w.PushedAt == nil || seen[push{w.ID, w.PushedAt.UnixMilli()}] {
			continue
		}
		seen[push{w.ID, w.PushedAt.UnixMilli()}] = true
		out = append(out, w)
	}
	return out
}

// sweeps stores the ledger. Its table replaces a line that comes again.
type sweeps struct {
	*store
	writer  *writer
	decoder *kafka.Decoder[event.OwnerSwept]
	letters *kgo.Client
}

// Resume implements kafka.Store.
func (s *sweeps) Resume(ctx context.Context, topic string, partitions []int32) ([]kafka.Mark, error) {
	return s.resume(ctx, s.writer, topic, partitions)
}

// Prepare implements kafka.Store.
func (s *sweeps) Prepare(ctx context.Context, topicID string, b kafka.Block) (func(context.Context) error, error) {
	rows, bad, err := s.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := bad.Bury(ctx, s.letters, stage); err != nil {
			return err
		}
		return s.writer.write(ctx, func(ctx context.Context) error {
			if err := insert(ctx, s.store, "pulse.sweeps", sweepColumns(), rows); err != nil {
				return err
			}
			return s.commit(ctx, event.TopicSweeps, topicID, b)
		})
	}, nil
}
