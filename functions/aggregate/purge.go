package aggregate

import (
	"context"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/redisclient"
)

// Forget deletes the histories of repositories. It may be done again.
func Forget(ctx context.Context, redisURL string, repos []int64) error {
	rdb, err := redisclient.New(redisURL)
	if err != nil {
		return fmt.Errorf("invalid REDIS_URL: %w", err)
	}
	defer rdb.Close()
	for some := range slices.Chunk(repos, 500) {
		_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, repo := range some {
				p.Del(ctx, historyKey(repo))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("forget the histories of %d repositories: %w", len(some), err)
		}
	}
	return nil
}
