package sinkclickhouse

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// stage names this function in dead letters.
const stage = "sink-clickhouse"

// repos stores RepoProcessed: the rows of each block in the time series, and the
// state of each repository before the marker. While a backlog is being worked off
// state and marker wait for several blocks.
//
// A block is atomic only within one table and partition, so a crash can leave
// part of it. The tables that replace may take rows again: the same version
// replaces itself. The time series may not: after a Resume the rows beyond the
// marker are read, and left out when their records come again.
type repos struct {
	*store
	writer  *writer
	decoder *kafka.Decoder[row]
	letters *kafka.DeadLetters
	wait    int // the marker waits while fewer records than this are unmarked and more follow

	marked     []kafka.Mark
	partitions []int32           // that are ours
	present    map[position]bool // in the time series, but beyond the marker; nil until read
	pending    *pending
}

// Resume implements kafka.Store.
func (r *repos) Resume(ctx context.Context, topic string, partitions []int32) ([]kafka.Mark, error) {
	marks, err := r.resume(ctx, r.writer, topic, partitions)
	if err != nil {
		return nil, err
	}
	r.marked, r.partitions, r.present, r.pending = marks, partitions, nil, newPending()
	return marks, nil
}

// resume makes this process the only writer of some partitions and reads the
// marks. A writer that cannot read them gives its leases back: a store without
// markers is to be rebuilt, by another writer.
func (s *store) resume(ctx context.Context, w *writer, topic string, partitions []int32) ([]kafka.Mark, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := w.acquireAll(ctx, partitions); err != nil {
		return nil, err
	}
	marks, err := s.marks(ctx, topic)
	if err == nil {
		err = s.readClock(ctx)
	}
	if err != nil {
		s.recheckServer() // the schema may be gone with the rest
		return nil, errors.Join(err, w.release())
	}
	return marks, nil
}

// Prepare implements kafka.Store.
func (r *repos) Prepare(ctx context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	rows, invalid, err := r.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	for _, w := range rows {
		w.topicID = topicID
	}
	b.Records = nil // the rows hold all of it
	return func(ctx context.Context) (kafka.Offsets, error) {
		if err := r.letters.Write(ctx, invalid); err != nil {
			return nil, err
		}
		return r.put(ctx, topicID, b, rows)
	}, nil
}

func (r *repos) put(ctx context.Context, topicID string, b kafka.Block, rows []*row) (stored kafka.Offsets, err error) {
	if r.present == nil {
		if r.present, err = r.rowsBeyondMarkers(ctx, topicID, r.marked, r.partitions); err != nil {
			return nil, err
		}
	}
	series, err := r.newRows(ctx, rows)
	if err != nil {
		return nil, err
	}
	err = r.writer.write(ctx, func(ctx context.Context) (err error) {
		if err := r.add(ctx, "pulse.", rows, series); err != nil {
			return err
		}
		r.decoder.Recycle(r.pending.add(rows))
		r.pending.extend(b)
		if b.More && r.pending.records < r.wait && len(r.pending.state) < waitRepositories {
			return nil
		}
		if err := r.insertState(ctx, "pulse.", r.pending); err != nil {
			return err
		}
		if r.marked, err = r.commit(ctx, event.TopicProcessedRepos, topicID, r.pending.block, r.marked); err != nil {
			return err
		}
		stored = r.pending.block.Next
		r.decoder.Recycle(slices.Collect(maps.Values(r.pending.state)))
		r.pending = newPending()
		return nil
	})
	return stored, err
}

// decode reads a record, and its position.
func decode(codec *event.Codec) func(context.Context, *kgo.Record, *row) error {
	return func(ctx context.Context, rec *kgo.Record, r *row) error {
		if r.RepoProcessed == nil {
			r.RepoProcessed = &event.RepoProcessed{}
		}
		r.partition, r.offset, r.mayRepeat = rec.Partition, rec.Offset, event.Repeats(rec)
		return codec.ProcessedInto(ctx, rec, r.RepoProcessed)
	}
}

// newRows keeps the rows that the time series lacks: neither their record is
// there, nor, where it may be a repeat, their observation.
func (r *repos) newRows(ctx context.Context, rows []*row) ([]*row, error) {
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
		if r.present[position{w.partition, w.offset}] || known[w.Key()] {
			continue
		}
		known[w.Key()] = true
		out = append(out, w)
	}
	return out, nil
}

// add inserts rows into the tables that have a row of each reading or day, whose
// names begin with a prefix.
func (s *store) add(ctx context.Context, prefix string, rows, series []*row) error {
	type day struct{ repo, day int64 }
	daily := map[day]*row{}
	for _, w := range rows {
		replace(daily, day{w.ID, w.ObservedAt.Unix() / (24 * 60 * 60)}, w)
	}
	observed := func(r *row) time.Time { return r.ObservedAt }
	if err := insertByMonth(ctx, s, prefix+"github_daily", dailyColumns(), slices.Collect(maps.Values(daily)), observed); err != nil {
		return err
	}
	return insertByMonth(ctx, s, prefix+"github_metrics_timeseries", append(seriesColumns(), s.arrival()), series, observed)
}

// insertState inserts what add leaves of a block's rows: the state of each
// repository, and its pushes.
func (s *store) insertState(ctx context.Context, prefix string, u *pending) error {
	if err := insert(ctx, s, prefix+"github_processed_repos", stateColumns(), slices.Collect(maps.Values(u.state))); err != nil {
		return err
	}
	var pushes []*push
	for p := range u.pushes {
		pushes = append(pushes, &p)
	}
	return insertByMonth(ctx, s, prefix+"github_pushes", pushColumns(), pushes, (*push).time)
}

// pending is what blocks lead to besides rows of the time series, until it is
// inserted and marked. Several blocks of a backlog have many rows of one
// repository: one is enough.
type pending struct {
	state   map[int64]*row // of each repository the row that wins
	pushes  map[push]bool
	block   kafka.Block // where they begin and end
	records int
}

// push is the time of a repository's last push.
type push struct {
	repo int64
	at   int64 // ms since 1970, UTC
}

func (p *push) time() time.Time { return time.UnixMilli(p.at).UTC() }

func newPending() *pending {
	return &pending{state: map[int64]*row{}, pushes: map[push]bool{}, block: kafka.Block{First: kafka.Offsets{}, Next: kafka.Offsets{}}}
}

// add takes rows over and returns those that it does not need.
func (u *pending) add(rows []*row) (free []*row) {
	for _, w := range rows {
		if w.PushedAt != nil {
			u.pushes[push{w.ID, w.PushedAt.UnixMilli()}] = true
		}
		if lost := replace(u.state, w.ID, w); lost != nil {
			free = append(free, lost)
		}
	}
	u.records += len(rows)
	return free
}

// extend notes where a block begins and ends whose rows were added.
func (u *pending) extend(b kafka.Block) {
	for p, first := range b.First {
		if _, known := u.block.First[p]; !known {
			u.block.First[p] = first
		}
	}
	maps.Copy(u.block.Next, b.Next)
}

// replace gives a row the place of its key if it wins there in a table that
// replaces. It returns the row that has lost, if there were two.
func replace[K comparable](best map[K]*row, key K, w *row) (lost *row) {
	b := best[key]
	if b != nil && w.version() < b.version() {
		return w
	}
	best[key] = w
	return b
}

// ledger stores the lines of a ledger. Its table replaces a line that comes again.
type ledger[R any] struct {
	*store
	writer  *writer
	decoder *kafka.Decoder[R]
	letters *kafka.DeadLetters
	topic   string
	table   string
	columns func() []column[R]
	// key is nil where the last row of a key replaces those before. Else the first counts,
	// of the rows of a block too.
	key func(*R) string

	marked []kafka.Mark
}

// Resume implements kafka.Store.
func (l *ledger[R]) Resume(ctx context.Context, topic string, partitions []int32) (marks []kafka.Mark, err error) {
	marks, err = l.resume(ctx, l.writer, topic, partitions)
	l.marked = marks
	return marks, err
}

// Prepare implements kafka.Store.
func (l *ledger[R]) Prepare(ctx context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	rows, invalid, err := l.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	if l.key != nil {
		seen := map[string]bool{}
		rows = slices.DeleteFunc(rows, func(r *R) bool {
			again := seen[l.key(r)]
			seen[l.key(r)] = true
			return again
		})
	}
	return func(ctx context.Context) (kafka.Offsets, error) {
		if err := l.letters.Write(ctx, invalid); err != nil {
			return nil, err
		}
		return b.Next, l.writer.write(ctx, func(ctx context.Context) (err error) {
			if err := insert(ctx, l.store, l.table, l.columns(), rows); err != nil {
				return err
			}
			l.marked, err = l.commit(ctx, l.topic, topicID, b, l.marked)
			return err
		})
	}, nil
}
