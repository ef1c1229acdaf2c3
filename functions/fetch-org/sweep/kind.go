package sweep

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// kindKey says where the data in this Redis comes from.
const kindKey = "github:pipeline:kind"

// Kind is what this Redis holds, or "" if that was not noted.
func (l *Owners) Kind(ctx context.Context) (string, error) {
	kind, err := l.rdb.Get(ctx, kindKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("get %s: %w", kindKey, err)
	}
	return kind, nil
}

// KeepKind notes what this Redis holds; what was noted before stays. It is safe
// to repeat.
func (l *Owners) KeepKind(ctx context.Context, kind string) error {
	if err := l.rdb.SetNX(ctx, kindKey, kind, 0).Err(); err != nil {
		return fmt.Errorf("set %s: %w", kindKey, err)
	}
	return nil
}
