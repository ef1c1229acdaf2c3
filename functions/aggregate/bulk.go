package aggregate

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// The bulk door works in large blocks and keeps the histories of its
// partitions, at most 12 KB each, so that Redis is written once for many
// records.
const (
	bulkBlockBytes   = 128 << 20
	bulkRepositories = 60_000
	// bulkGC is how much garbage, in percent of what is held, may gather: less
	// than usual, because what is held is most of it and holds no pointers.
	bulkGC = 50
)

// bulkPatience is how long the bulk door goes on trying while nothing succeeds.
const bulkPatience = 2 * time.Minute

// Drain is the bulk door: it computes all that stands in the topic when it
// begins, and returns when the group has committed it. Any number of processes
// may drain at once, beside the function itself: the group shares the
// partitions among them. It is safe to end and to repeat at any point, by the
// same offsets as the function.
func Drain(ctx context.Context, environ map[string]string) error {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return err
	}
	debug.SetGCPercent(bulkGC)
	if _, set := environ["AGGREGATE_MEMBER"]; !set {
		cfg.Member = dynamic
	}
	bounds := kafka.Bounds{Records: cfg.BulkBlock, Bytes: bulkBlockBytes}
	drain, engine, err := newDrain(cfg, bounds, hold{repositories: bulkRepositories, unsaved: cfg.BulkUnsaved})
	if err != nil {
		return err
	}
	defer engine.memory.redis.Close()
	target, err := kafka.Ends(ctx, cfg.Kafka, event.TopicBaseRepos)
	if err != nil {
		return err
	}
	drain.Start()
	err = await(ctx, cfg.Kafka, drain, target)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if stopped := drain.Stop(ending); stopped != nil {
		return errors.Join(err, stopped)
	}
	return errors.Join(err, engine.flush(ending))
}

// await returns once the group has committed all before the target.
func await(ctx context.Context, cfg kafka.Config, drain *kafka.Drain, target kafka.Offsets) error {
	var failing time.Time
	for {
		done, err := kafka.Committed(ctx, cfg, Group, event.TopicBaseRepos)
		if err == nil && done.Reach(target) {
			return nil
		}
		err = errors.Join(err, drain.Err())
		switch {
		case errors.Is(err, kafka.ErrFatal):
			return err
		case err == nil:
			failing = time.Time{}
		case failing.IsZero():
			failing = time.Now()
		case time.Since(failing) > bulkPatience:
			return fmt.Errorf("gave up after %s: %w", bulkPatience, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
