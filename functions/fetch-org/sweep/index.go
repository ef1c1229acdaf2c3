package sweep

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
)

// register makes sweeps known to later wakes, so that their requests may be
// lost. It is safe to repeat.
func (c *checkpoints) register(ctx context.Context, requests ...event.FetchRequested) error {
	members := make([]redis.Z, len(requests))
	for i, r := range requests {
		members[i].Member = member(r)
	}
	if err := c.rdb.ZAdd(ctx, index, members...).Err(); err != nil {
		return fmt.Errorf("register %d sweeps: %w", len(requests), err)
	}
	return nil
}

// registered says whether a sweep is in the index.
func (c *checkpoints) registered(ctx context.Context, r event.FetchRequested) (bool, error) {
	err := c.rdb.ZScore(ctx, index, member(r)).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up sweep %s: %w", member(r), err)
	}
	return true, nil
}

// unpublished lists the index: one entry for each owner, and a few more where a
// sweep has been superseded by the next.
func (c *checkpoints) unpublished(ctx context.Context) ([]event.FetchRequested, error) {
	members, err := c.rdb.ZRange(ctx, index, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("list the open sweeps: %w", err)
	}
	return requestsOf(members), nil
}

// before lists the unpublished sweeps of an owner that are older than one.
func (c *checkpoints) before(ctx context.Context, r event.FetchRequested) ([]event.FetchRequested, error) {
	members, err := c.rdb.ZRangeByLex(ctx, index, &redis.ZRangeBy{Min: "[" + r.Login + " ", Max: "(" + member(r)}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the earlier sweeps of %s: %w", r.Login, err)
	}
	return requestsOf(members), nil
}

// forget takes a published sweep out of the index. Its checkpoint stays for its
// ttl, so that a late request finds that all is done.
func (c *checkpoints) forget(ctx context.Context, r event.FetchRequested) error {
	_, err := c.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRem(ctx, index, member(r))
		p.Del(ctx, sweepKeys(r)[1:]...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove sweep %s from the index: %w", member(r), err)
	}
	return nil
}

// Unfinished counts the sweeps whose ledger line is not published yet, for
// commands that wait for sweeps to end.
func Unfinished(ctx context.Context, redisURL string) (int64, error) {
	rdb, err := openRedis(redisURL)
	if err != nil {
		return 0, err
	}
	defer rdb.Close()
	n, err := rdb.ZCard(ctx, index).Result()
	if err != nil {
		return 0, fmt.Errorf("count the unfinished sweeps: %w", err)
	}
	return n, nil
}
