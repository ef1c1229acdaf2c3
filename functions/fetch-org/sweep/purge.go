package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/lease"
	"github.com/m7pulse/m7pulse/shared/portfolio"
	"github.com/m7pulse/m7pulse/shared/redisclient"
)

// purgedKey is a hash of when the data of an owner was deleted, in ms, by login.
const purgedKey = "github:pipeline:purged"

// Purge deletes all data of an owner that is no longer listed. It holds the
// owner's lease, so that nothing is read of it, while elsewhere deletes what the
// stores hold; then it deletes the owner's sweeps and cached repositories itself.
func (l *Owners) Purge(ctx context.Context, login string, elsewhere func(context.Context) error) error {
	login = strings.ToLower(login)
	if err := checkLogin(login); err != nil {
		return err
	}
	o, err := l.Get(ctx, login)
	if err != nil {
		return err
	}
	all, err := readOwners(ctx, l.rdb)
	if err != nil {
		return err
	}
	if _, listed := all[login]; listed && !o.Removed {
		return fmt.Errorf("owner %s is listed: remove it first", login)
	}
	held, err := l.acquire(ctx, login)
	if err != nil {
		return err
	}
	work, stop := held.Keep(ctx)
	err = l.purge(work, login, elsewhere)
	if lost := context.Cause(work); err != nil && errors.Is(lost, lease.ErrLost) {
		err = lost
	}
	stop()
	if e := held.Release(context.WithoutCancel(ctx)); e != nil && !errors.Is(e, lease.ErrLost) {
		err = errors.Join(err, e)
	}
	return err
}

// acquire waits for the owner's lease: a handler needs at most 20 s.
func (l *Owners) acquire(ctx context.Context, login string) (*lease.Lease, error) {
	for {
		held, err := lease.Acquire(ctx, l.rdb, lockKey(login), leaseTTL)
		var other *lease.Held
		if !errors.As(err, &other) {
			return held, err
		}
		select {
		case <-time.After(min(other.Remaining, time.Second)):
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until owner %s is no longer read: %w", login, ctx.Err())
		}
	}
}

func (l *Owners) purge(ctx context.Context, login string, elsewhere func(context.Context) error) error {
	// Noted first, so that an audit meanwhile does not miss what is deleted.
	if err := l.rdb.HSet(ctx, purgedKey, login, time.Now().UnixMilli()).Err(); err != nil {
		return fmt.Errorf("note the purge of %s: %w", login, err)
	}
	if err := elsewhere(ctx); err != nil {
		return err
	}
	// A login has no character with a meaning in a pattern.
	for _, pattern := range []string{"github:pipeline:sweep:*:" + login, "{github:pipeline:sweep:*:" + login + "}:*"} {
		err := redisclient.EachMaster(ctx, l.rdb, func(ctx context.Context, server redis.UniversalClient) error {
			keys := server.Scan(ctx, 0, pattern, 1000).Iterator()
			for keys.Next(ctx) {
				if err := server.Del(ctx, keys.Val()).Err(); err != nil {
					return fmt.Errorf("delete the sweeps of %s: %w", login, err)
				}
			}
			if err := keys.Err(); err != nil {
				return fmt.Errorf("list the sweeps of %s: %w", login, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	sweeps := &checkpoints{rdb: l.rdb}
	open, err := sweeps.before(ctx, event.FetchRequested{Login: login, SweepID: "~"})
	if err != nil {
		return err
	}
	for _, r := range open {
		if err := sweeps.forget(ctx, r); err != nil {
			return err
		}
	}
	err = portfolio.Repositories(ctx, l.rdb, login, func(some []portfolio.Repository) error {
		var ids []int64
		for _, r := range some {
			ids = append(ids, r.ID)
		}
		return portfolio.ForgetFeeds(ctx, l.rdb, ids...)
	})
	if err != nil {
		return err
	}
	if err := l.rdb.Del(ctx, repoCacheKey(login)).Err(); err != nil {
		return fmt.Errorf("delete the cached repositories of %s: %w", login, err)
	}
	return nil
}

// Purged returns, by login, until when the data of owners was deleted. Kafka keeps
// their records as long as its topics do.
func (l *Owners) Purged(ctx context.Context) (map[string]time.Time, error) {
	values, err := l.rdb.HGetAll(ctx, purgedKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("list the purged owners: %w", err)
	}
	all := map[string]time.Time{}
	for login, text := range values {
		var ms int64
		if _, err := fmt.Sscan(text, &ms); err != nil {
			return nil, fmt.Errorf("list the purged owners: %s: %w", login, err)
		}
		all[login] = time.UnixMilli(ms)
	}
	return all, nil
}
