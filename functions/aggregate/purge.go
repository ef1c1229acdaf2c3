package aggregate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Forget deletes the histories of repositories. It may be done again.
func Forget(ctx context.Context, redisURL string, repos []int64) error {
	at, err := redis.ParseURL(redisURL)
	if err != nil {
		return errors.New("REDIS_URL is no address of Redis") // err may quote the password
	}
	rdb := redis.NewClient(at)
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
