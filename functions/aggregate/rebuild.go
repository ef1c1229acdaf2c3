package aggregate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// rebuildPatience is how long Rebuild begins again when others write the same
// histories.
const rebuildPatience = 5 * time.Minute

// Rebuild forgets the state in Redis and makes it anew from the observations in
// Kafka, up to where the group has committed; nothing is emitted. progress is
// told of the records read so far and of all.
//
// It may be run beside the function, be broken off and be repeated: the state
// is begun anew in one write, from which on whoever needs a history makes up
// what is missing of it, this or the function.
func Rebuild(ctx context.Context, environ map[string]string, progress func(done, all int64)) (records int64, err error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return 0, err
	}
	codec, err := event.NewCodec(cfg.Registry)
	if err != nil {
		return 0, err
	}
	memory, err := newMemory(cfg.Redis)
	if err != nil {
		return 0, err
	}
	defer memory.redis.Close()
	e := newEngine(cfg.Kafka, codec, memory, hold{})
	if err := e.open(ctx); err != nil {
		return 0, err
	}
	if err := memory.renew(ctx); err != nil {
		return 0, err
	}
	target, err := kafka.Committed(ctx, cfg.Kafka, Group, event.TopicBaseRepos)
	if err != nil {
		return 0, err
	}
	for _, next := range target {
		records += max(0, next)
	}
	var done int64
	for p, next := range target {
		if err := e.rebuild(ctx, kafka.Offsets{p: max(0, next)}); err != nil {
			return 0, err
		}
		done += max(0, next)
		progress(done, records)
	}
	return records, nil
}

// rebuild brings one partition up. A function at work brings up the same; who
// is overtaken looks again how far it has come.
func (e *engine) rebuild(ctx context.Context, target kafka.Offsets) error {
	deadline := time.Now().Add(rebuildPatience)
	for {
		e.opened = false // another Rebuild may have begun an epoch
		err := e.open(ctx)
		if err == nil {
			err = e.catchUp(ctx, newHeld(), target)
		}
		if !errors.Is(err, errMoved) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("gave up after %s: %w", rebuildPatience, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
