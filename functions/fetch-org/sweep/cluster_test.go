package sweep

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/redisclient/redistest"
)

// Checkpoints, budgets, leases, the list of owners and what is remembered, on a
// real cluster: it refuses what lies on two nodes.
func TestASweepAndAPurgeOnAClusterOfRedis(t *testing.T) {
	w := newWorld(t)
	w.env["REDIS_URL"] = redistest.Cluster(t)
	s := w.start()
	for i := range 2 { // the second compares with what the first has remembered
		if err := s.RequestAll(t.Context(), time.Now().Add(time.Duration(i-1)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.deliver(s)
		if err := s.rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for owner, lines := range w.ledger() {
		if len(lines) != 2 || lines[0].Status != event.StatusComplete || lines[1].Status != event.StatusComplete {
			t.Errorf("%s: %+v, want two complete sweeps", owner, lines)
		}
	}
	for id, observations := range w.observed() {
		if len(observations) != 2 {
			t.Errorf("repository %d is observed %d times, want 2", id, len(observations))
		}
	}

	list, err := OpenOwners(w.env["REDIS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	if err := list.Remove(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if err := list.Purge(t.Context(), "acme", func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var left, others atomic.Int64
	err = redisclient.EachMaster(t.Context(), s.rdb, func(ctx context.Context, server redis.UniversalClient) error {
		for pattern, n := range map[string]*atomic.Int64{"*sweep:*:acme*": &left, "*sweep:*:jane*": &others} {
			keys, err := server.Keys(ctx, pattern).Result()
			if err != nil {
				return err
			}
			n.Add(int64(len(keys)))
		}
		return nil
	})
	if err != nil || left.Load() != 0 || others.Load() == 0 {
		t.Errorf("%d keys of acme's sweeps and %d of jane's are left: %v", left.Load(), others.Load(), err)
	}
}
