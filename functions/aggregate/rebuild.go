package aggregate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// rebuildTimeout is how long Rebuild tries again when others write the same
// histories.
const rebuildTimeout = 5 * time.Minute

// Archive reads a store that keeps observations longer than Kafka does. It passes
// all of them to each, in any order and each once, and then returns how far into
// the topic they reach: the topic's id and the next offset of each partition. The
// topic id of an empty archive is "".
type Archive func(ctx context.Context, each func([]*event.RepoObserved) error) (topicID string, next map[int32]int64, err error)

// Rebuild discards the state in Redis and builds it again from the observations in
// an archive, if there is one, and in Kafka, up to where the group has committed;
// nothing is emitted. progress receives the number of records read so far, and of
// all.
//
// It may be run beside the function, be interrupted and be repeated: one write
// begins a new epoch, and from then on the process that needs a history, this one
// or the function's, reads what is missing of it from Kafka. What only the archive
// has is left to this process: the function waits until it is there, or until this
// process has died.
func Rebuild(ctx context.Context, environ map[string]string, archive Archive, progress func(done, all int64)) (records int64, err error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return 0, err
	}
	codec, err := event.NewWriter(cfg.Registry, kafka.Newest(cfg.Kafka))
	if err != nil {
		return 0, err
	}
	store, err := newHistoryStore(cfg.Redis)
	if err != nil {
		return 0, err
	}
	defer store.redis.Close()
	e := newEngine(cfg.Kafka, codec, store, cacheLimits{})
	if err := e.open(ctx); err != nil {
		return 0, err
	}
	from := map[int32]int64{}
	if archive == nil {
		err = store.beginEpoch(ctx)
	} else {
		from, records, err = e.readArchive(ctx, archive, progress)
	}
	if err != nil {
		return 0, err
	}
	target, err := kafka.Committed(ctx, cfg.Kafka, Group, event.TopicBaseRepos)
	if err != nil {
		return 0, err
	}
	done := records
	for p, next := range target {
		records += max(0, next-from[p.Number])
	}
	for p, next := range target {
		if err := e.rebuildPartition(ctx, kafka.Offsets{p: max(0, next)}); err != nil {
			return 0, err
		}
		done += max(0, next-from[p.Number])
		progress(done, records)
	}
	return records, nil
}

// rebuildTTL is how long a process's claim to rebuild the state lasts unless it is
// renewed.
const rebuildTTL = time.Minute

// readArchive begins a new epoch with the observations of an archive, and returns
// up to where in Kafka they reach, and how many they are.
func (e *engine) readArchive(ctx context.Context, archive Archive, progress func(done, all int64)) (next map[int32]int64, records int64, err error) {
	past, newest := NewPast(), map[int64]*event.RepoObserved{}
	topicID, next, err := archive(ctx, func(observations []*event.RepoObserved) error {
		for _, o := range observations {
			if err := past.Learn(o); err != nil {
				return err
			}
			if n := newest[o.ID]; n == nil || n.ObservedAt.Before(o.ObservedAt) {
				newest[o.ID] = o
			}
		}
		records += int64(len(observations))
		progress(records, records)
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read the archive: %w", err)
	}
	if topicID == "" {
		return nil, 0, e.store.beginEpoch(ctx)
	}
	if topicID != e.topicID {
		return nil, 0, fmt.Errorf("%w: the archive is of topic id %s, but the broker's %s has id %s: the topic was recreated",
			kafka.ErrFatal, topicID, event.TopicBaseRepos, e.topicID)
	}
	if err := e.waitComputed(ctx, next); err != nil {
		return nil, 0, err
	}
	if err := e.store.markRebuilding(ctx, e.topicID, rebuildTTL); err != nil {
		return nil, 0, err
	}
	if err := e.store.beginEpoch(ctx); err != nil {
		return nil, 0, err
	}
	if err := e.store.open(ctx, e.topicID); err != nil {
		return nil, 0, err
	}
	for ids := range slices.Chunk(slices.Collect(maps.Keys(newest)), chunk) {
		if err := e.store.markRebuilding(ctx, e.topicID, rebuildTTL); err != nil {
			return nil, 0, err
		}
		histories, err := e.store.load(ctx, ids) // for the versions that are there
		if err != nil {
			return nil, 0, err
		}
		for id, h := range histories {
			r, err := e.codec.Record(ctx, newest[id], false)
			if err != nil {
				return nil, 0, err
			}
			h.Newest = r.Value
			l := past.of(id)
			h.Known = l.known
			if h.points, err = velocity.Unpack(l.points); err != nil {
				return nil, 0, err
			}
		}
		if err := e.store.save(ctx, e.topicID, histories, nil); err != nil {
			return nil, 0, err
		}
	}
	if err := e.store.save(ctx, e.topicID, nil, next); err != nil {
		return nil, 0, err
	}
	return next, records, e.store.clearRebuilding(ctx, e.topicID)
}

// waitComputed waits until the group has committed all that an archive holds: a
// history with more would keep its rows from ever being emitted.
func (e *engine) waitComputed(ctx context.Context, next map[int32]int64) error {
	target := kafka.Offsets{}
	for p, n := range next {
		target[kafka.Partition{Topic: event.TopicBaseRepos, Number: p}] = n
	}
	deadline := time.Now().Add(rebuildTimeout)
	for {
		done, err := kafka.Committed(ctx, e.kafka, Group, event.TopicBaseRepos)
		if err != nil {
			return err
		}
		if done.Covers(target) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the archive holds observations that aggregate has not computed: it is at %v, the archive at %v", done, target)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// rebuildPartition brings one partition up. A function at work brings up the same;
// when it was faster, this looks again how far it has come.
func (e *engine) rebuildPartition(ctx context.Context, target kafka.Offsets) error {
	deadline := time.Now().Add(rebuildTimeout)
	for {
		e.opened = false // another Rebuild may have begun an epoch
		err := e.open(ctx)
		if err == nil {
			err = e.catchUp(ctx, newCache(), target)
		}
		if !errors.Is(err, errChangedElsewhere) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("gave up after %s: %w", rebuildTimeout, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
