package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"

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
	codec   *event.Codec
	letters *kgo.Client // writes dead letters

	marked  []kafka.Mark
	present map[place]bool // in the time series, but beyond the marker; nil until read
}

// Resume implements kafka.Store.
func (r *repos) Resume(ctx context.Context, topic string) ([]kafka.Mark, error) {
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.writer.take(ctx); err != nil {
		return nil, err
	}
	marks, err := r.marks(ctx, topic)
	if err != nil {
		return nil, err
	}
	r.marked, r.present = marks, nil
	return marks, nil
}

// Put implements kafka.Store.
func (r *repos) Put(ctx context.Context, topicID string, b kafka.Block) error {
	if r.present == nil {
		present, err := r.beyond(ctx, topicID, r.marked)
		if err != nil {
			return err
		}
		r.present = present
	}
	rows, err := r.decode(ctx, topicID, b.Records)
	if err != nil {
		return err
	}
	series, err := r.fresh(ctx, rows)
	if err != nil {
		return err
	}
	ctx, cancel, err := r.writer.fence(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := insert(ctx, r.store, "pulse.github_processed_repos", stateColumns(), newest(rows)); err != nil {
		return err
	}
	if err := insert(ctx, r.store, "pulse.github_metrics_timeseries", seriesColumns(), series); err != nil {
		return err
	}
	return r.commit(ctx, event.TopicProcessedRepos, topicID, b)
}

// decode reads the rows of a block; what cannot be read goes to the dead
// letters first.
func (r *repos) decode(ctx context.Context, topicID string, records []*kgo.Record) ([]*row, error) {
	rows := make([]*row, 0, len(records))
	for _, rec := range records {
		p, err := r.codec.Processed(ctx, rec)
		if errors.Is(err, event.ErrInvalid) {
			if err := kafka.Bury(ctx, r.letters, stage, rec, err); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s/%d/%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		}
		rows = append(rows, &row{
			RepoProcessed: p, topicID: topicID, partition: rec.Partition, offset: rec.Offset,
			mayRepeat: event.Header(rec, "ce_"+event.MayRepeat) == "true",
		})
	}
	return rows, nil
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

// newest keeps of each repository the row that would win in the state table.
func newest(rows []*row) []*row {
	best := map[int64]*row{}
	for _, w := range rows {
		if b := best[w.ID]; b == nil || w.version() >= b.version() {
			best[w.ID] = w
		}
	}
	out := make([]*row, 0, len(best))
	for _, w := range best {
		out = append(out, w)
	}
	return out
}

// sweeps stores the ledger. Its table replaces a line that comes again.
type sweeps struct {
	*store
	writer  *writer
	codec   *event.Codec
	letters *kgo.Client
}

// Resume implements kafka.Store.
func (s *sweeps) Resume(ctx context.Context, topic string) ([]kafka.Mark, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := s.writer.take(ctx); err != nil {
		return nil, err
	}
	return s.marks(ctx, topic)
}

// Put implements kafka.Store.
func (s *sweeps) Put(ctx context.Context, topicID string, b kafka.Block) error {
	rows := make([]*event.OwnerSwept, 0, len(b.Records))
	for _, rec := range b.Records {
		line, err := s.codec.Swept(ctx, rec)
		if errors.Is(err, event.ErrInvalid) {
			if err := kafka.Bury(ctx, s.letters, stage, rec, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("%s/%d/%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		}
		rows = append(rows, &line)
	}
	ctx, cancel, err := s.writer.fence(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := insert(ctx, s.store, "pulse.sweeps", sweepColumns(), rows); err != nil {
		return err
	}
	return s.commit(ctx, event.TopicSweeps, topicID, b)
}
