package fetchorg

import (
	"context"
	"fmt"
)

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
