package aggregate

import (
	"context"
	"errors"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Bulk mode works in large blocks and keeps the histories of its
// partitions, at most 12 KB each, so that Redis is written once for many
// records.
const (
	bulkBlockBytes   = 128 << 20
	bulkRepositories = 60_000
	// bulkGarbage is less than usual, because the cache is most of the heap and has no
	// pointers.
	bulkGarbage = 75
)

// Drain is bulk mode: it computes all that is in the topic when it begins, and
// returns when the group has committed it. Any number of processes may drain at
// once, beside the function itself: the group shares the partitions among them. It
// is safe to interrupt and to repeat at any point, by the same offsets as the
// function.
func Drain(ctx context.Context, environ map[string]string, measure serve.Measure) error {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return err
	}
	defer serve.Memory{Garbage: bulkGarbage}.Set()()
	if _, set := environ["AGGREGATE_MEMBER"]; !set {
		cfg.Member = dynamic
	}
	bounds := kafka.Bounds{Records: cfg.BulkBlock, Bytes: bulkBlockBytes}
	drain, engine, err := newDrain(cfg, bounds, cacheLimits{repositories: bulkRepositories, unsaved: cfg.BulkUnsaved})
	if err != nil {
		return err
	}
	defer engine.store.redis.Close()
	if measure != nil {
		measure(drain.Metrics()...)
	}
	target, err := kafka.Remaining(ctx, cfg.Kafka, event.TopicBaseRepos)
	if err != nil {
		return errors.Join(err, drain.Stop(ctx))
	}
	drain.Start()
	err = drain.Await(ctx, func(ctx context.Context) (bool, error) {
		done, err := kafka.Committed(ctx, cfg.Kafka, Group, event.TopicBaseRepos)
		return done.Covers(target), err
	})
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if stopped := drain.Stop(ending); stopped != nil {
		return errors.Join(err, stopped)
	}
	return errors.Join(err, engine.flush(ending))
}
