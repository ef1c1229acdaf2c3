package retention

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/redisclient"
)

// ours begins the keys of the pipeline; in a cluster, a brace comes before it.
const ours = "github:pipeline:"

// scanned is how many keys are asked for at once.
const scanned = 1000

// readRedis says of each kind of keys how long they have left at most. It reads the name
// of every key, a thousand at once, which a server does beside its work.
func readRedis(ctx context.Context, url string) ([]Kept, error) {
	client, err := redisclient.New(url)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var mu sync.Mutex // the masters of a cluster are asked at once
	kinds := map[string]*Kept{}
	err = redisclient.EachMaster(ctx, client, func(ctx context.Context, server redis.UniversalClient) error {
		var cursor uint64
		for {
			keys, next, err := server.Scan(ctx, cursor, "*"+ours+"*", scanned).Result()
			if err != nil {
				return fmt.Errorf("list the keys: %w", err)
			}
			left, bytes, err := lives(ctx, server, keys)
			if err != nil {
				return err
			}
			mu.Lock()
			for i, key := range keys {
				if left[i] != gone {
					count(kinds, key, left[i], bytes[i])
				}
			}
			mu.Unlock()
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
	all := make([]Kept, 0, len(kinds))
	for _, k := range kinds {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b Kept) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.What, b.What)) })
	return all, err
}

// gone is the time left of a key that has expired since it was listed: PTTL says -2.
const gone time.Duration = -2

func lives(ctx context.Context, server redis.UniversalClient, keys []string) ([]time.Duration, []int64, error) {
	left, bytes := make([]time.Duration, len(keys)), make([]int64, len(keys))
	if len(keys) == 0 {
		return left, bytes, nil
	}
	asked := make([]*redis.DurationCmd, len(keys))
	sizes := make([]*redis.IntCmd, len(keys))
	_, err := server.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			asked[i], sizes[i] = p.PTTL(ctx, key), p.MemoryUsage(ctx, key)
		}
		return nil
	})
	for i := range keys {
		if e := asked[i].Err(); e != nil {
			return nil, nil, fmt.Errorf("ask how long %s is kept: %w", strconv.Quote(keys[i]), cmp.Or(err, e))
		}
		left[i], bytes[i] = asked[i].Val(), sizes[i].Val() // a server without MEMORY USAGE says 0
	}
	return left, bytes, nil
}

func count(kinds map[string]*Kept, key string, left time.Duration, bytes int64) {
	what, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(key, "{"), ours), ":")
	what = strings.Trim(what, "{}")
	name := what
	if left < 0 {
		name += ", for ever"
	}
	k := kinds[name]
	if k == nil {
		k = &Kept{What: what, Unit: "keys", For: Forever}
		kinds[name] = k
	}
	k.Count++
	k.Bytes += bytes
	k.For = max(k.For, left)
}
