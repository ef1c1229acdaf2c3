package fetchorg

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Unfinished counts the sweeps of owners whose ledger line is not published
// yet, for those who wait for a sweep to end.
func Unfinished(ctx context.Context, redisURL string) (int64, error) {
	at, err := redis.ParseURL(redisURL)
	if err != nil {
		return 0, errors.New("REDIS_URL is no address of Redis") // err may quote the password
	}
	rdb := redis.NewClient(at)
	defer rdb.Close()
	n, err := rdb.ZCard(ctx, index).Result()
	if err != nil {
		return 0, fmt.Errorf("count the unfinished sweeps: %w", err)
	}
	return n, nil
}
