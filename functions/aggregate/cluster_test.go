package aggregate_test

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/redisclient/redistest"
)

// The function, bulk mode, Rebuild and Forget on a real cluster, whose nodes
// lose their scripts in between, as after a failover.
func TestHistoriesOfAClusterGiveTheRowsOfTheDefinition(t *testing.T) {
	long(t)
	w := newWorld(t)
	w.env["REDIS_URL"] = redistest.Cluster(t)
	rdb, err := redisclient.New(w.env["REDIS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	forgetScripts := func() {
		if err := rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	byRepo, mixed := some(t, 10)
	part := len(mixed) / 3
	w.send(mixed[:part]...)
	w.run()
	forgetScripts()
	w.send(mixed[part : 2*part]...)
	if err := aggregate.Drain(context.Background(), w.bulk(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := aggregate.Rebuild(context.Background(), w.env, nil, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	forgetScripts()
	w.send(mixed[2*part:]...)
	w.run()
	w.exact(byRepo)

	ids := slices.Sorted(maps.Keys(byRepo))
	if err := aggregate.Forget(t.Context(), w.env["REDIS_URL"], ids[:5]); err != nil {
		t.Fatal(err)
	}
	var keys atomic.Int64
	err = redisclient.EachMaster(t.Context(), rdb, func(ctx context.Context, server redis.UniversalClient) error {
		n, err := server.DBSize(ctx).Result()
		if n == 0 {
			t.Error("a node holds nothing")
		}
		keys.Add(n)
		return err
	})
	if want := int64(len(ids) - 5 + 1); err != nil || keys.Load() != want { // a history of each repository that is left, and the positions
		t.Errorf("%d keys: %v, want %d", keys.Load(), err, want)
	}
}
