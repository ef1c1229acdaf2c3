package aggregate

import (
	"context"
	"errors"
	"fmt"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// rebuildTries bounds how often a rebuild goes on after the function, at work
// beside it, has brought up the same histories.
const rebuildTries = 10

// Rebuild forgets every history and reads it again from Kafka, up to where the
// group has committed; nothing is emitted. Rows computed afterwards are those of
// a run that was never disturbed, as far as Kafka reaches back. It is safe to
// end and to repeat at any point: a partition without a position is brought up
// by whoever computes it next.
func Rebuild(ctx context.Context, environ map[string]string) error {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return err
	}
	codec, err := event.NewCodec(cfg.Registry)
	if err != nil {
		return err
	}
	memory, err := newMemory(cfg.Redis)
	if err != nil {
		return err
	}
	defer memory.redis.Close()
	if err := memory.clear(ctx); err != nil {
		return err
	}
	e := newEngine(cfg.Kafka, codec, memory, hold{})
	if err := e.open(ctx); err != nil {
		return err
	}
	for try := 1; ; try++ {
		done, err := kafka.Committed(ctx, cfg.Kafka, Group, event.TopicBaseRepos)
		if err != nil {
			return err
		}
		err = e.catchUp(ctx, newHeld(), done)
		if !errors.Is(err, errMoved) || try == rebuildTries {
			return err
		}
	}
}

// clear forgets all positions, and then all histories.
func (m *memory) clear(ctx context.Context) error {
	if err := m.redis.Del(ctx, stateKey).Err(); err != nil {
		return fmt.Errorf("delete %s: %w", stateKey, err)
	}
	keys := m.redis.Scan(ctx, 0, historyPrefix+"*", chunk).Iterator()
	var some []string
	for keys.Next(ctx) {
		if some = append(some, keys.Val()); len(some) == chunk {
			if err := m.redis.Unlink(ctx, some...).Err(); err != nil {
				return fmt.Errorf("delete %d histories: %w", len(some), err)
			}
			some = some[:0]
		}
	}
	if err := keys.Err(); err != nil {
		return fmt.Errorf("list the histories: %w", err)
	}
	if len(some) == 0 {
		return nil
	}
	if err := m.redis.Unlink(ctx, some...).Err(); err != nil {
		return fmt.Errorf("delete %d histories: %w", len(some), err)
	}
	return nil
}
