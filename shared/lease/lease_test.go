package lease_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/m7pulse/m7pulse/shared/lease"
)

const key = "github:pipeline:lock:acme"

func newRedis(t *testing.T) (*miniredis.Miniredis, *redis.Client) {
	t.Helper()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return server, client
}

func acquire(t *testing.T, rdb *redis.Client, ttl time.Duration) *lease.Lease {
	t.Helper()
	l, err := lease.Acquire(t.Context(), rdb, key, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestASecondHolderIsToldHowLongToWait(t *testing.T) {
	server, rdb := newRedis(t)
	first := acquire(t, rdb, 10*time.Second)
	server.FastForward(4 * time.Second)

	_, err := lease.Acquire(t.Context(), rdb, key, 10*time.Second)
	var held *lease.Held
	if !errors.As(err, &held) {
		t.Fatalf("want Held, got %v", err)
	}
	if held.Remaining != 6*time.Second || held.Token != first.Token() || held.Key != key {
		t.Fatalf("held %+v, want 6s of token %d", held, first.Token())
	}
}

func TestTheDeadlineIsNoLaterThanTheExpiry(t *testing.T) {
	_, rdb := newRedis(t)
	before := time.Now()
	l := acquire(t, rdb, 10*time.Second)
	if d := l.Deadline(); d.Before(before.Add(10*time.Second)) || d.After(time.Now().Add(10*time.Second)) {
		t.Fatalf("deadline %s after the beginning", d.Sub(before))
	}
	was := l.Deadline()
	if err := l.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !l.Deadline().After(was) {
		t.Fatal("a renewal did not move the deadline")
	}
}

func TestEachHolderHasAGreaterToken(t *testing.T) {
	server, rdb := newRedis(t)
	server.SetTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) // a stopped clock
	var last int64
	for range 3 {
		l := acquire(t, rdb, time.Second)
		if l.Token() <= last {
			t.Fatalf("token %d after %d", l.Token(), last)
		}
		last = l.Token()
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTokensGrowThoughRedisForgets(t *testing.T) {
	server, rdb := newRedis(t)
	was := acquire(t, rdb, time.Second).Token()
	server.FlushAll()
	time.Sleep(2 * time.Millisecond)
	l := acquire(t, rdb, time.Second)
	if l.Token() <= was {
		t.Fatalf("token %d after %d", l.Token(), was)
	}
	if _, known := l.Predecessor(); known {
		t.Fatal("a predecessor is known to a Redis that forgot")
	}
}

func TestAnExpiredLeaseIsTakenOverAndTheZombieIsPowerless(t *testing.T) {
	server, rdb := newRedis(t)
	zombie := acquire(t, rdb, time.Second)
	server.FastForward(time.Second)
	heir := acquire(t, rdb, time.Minute)

	if err := zombie.Renew(t.Context()); !errors.Is(err, lease.ErrLost) {
		t.Errorf("the zombie renewed: %v", err)
	}
	if err := zombie.Release(t.Context()); !errors.Is(err, lease.ErrLost) {
		t.Errorf("the zombie released: %v", err)
	}
	if heir.Token() <= zombie.Token() {
		t.Errorf("token %d of the heir, %d of the zombie", heir.Token(), zombie.Token())
	}
	if err := heir.Renew(t.Context()); err != nil {
		t.Errorf("the heir lost its lease to a zombie: %v", err)
	}
}

func TestAnHeirKnowsHowLongItsPredecessorMayLive(t *testing.T) {
	server, rdb := newRedis(t)
	now := time.Now()
	server.SetTime(now)
	first := acquire(t, rdb, time.Minute)
	if _, known := first.Predecessor(); known {
		t.Fatal("the first holder knows a predecessor")
	}
	// Its key is removed by hand: the holder does not know and works on.
	server.Del(key)
	server.SetTime(now.Add(20 * time.Second))
	second := acquire(t, rdb, time.Minute)
	until, known := second.Predecessor()
	if left := time.Until(until); !known || left < 35*time.Second || left > 40*time.Second {
		t.Fatalf("the predecessor has %s left (known %t), want just under 40s", left, known)
	}
	if err := second.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	until, known = acquire(t, rdb, time.Minute).Predecessor()
	if !until.IsZero() || !known {
		t.Fatalf("after a release the predecessor lives until %s (known %t)", until, known)
	}
}

// bubble runs a test on a clock of its own, with a Redis at the other end of a
// pipe whose keys expire by FastForward alone.
func bubble(t *testing.T, f func(t *testing.T, server *miniredis.Miniredis, rdb *redis.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := miniredis.NewMiniRedis()
		client := redis.NewClient(&redis.Options{
			Dialer:     func(context.Context, string, string) (net.Conn, error) { return server.Dial() },
			MaxRetries: -1,
			// Else a mutex is held while a connection is made, which stops the bubble's time.
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		defer time.Sleep(5 * time.Second) // go-redis looks each second whether it is closed
		defer server.Close()
		defer client.Close()
		f(t, server, client)
	})
}

func TestKeepOutlivesTheTTL(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis, rdb *redis.Client) {
		l := acquire(t, rdb, 9*time.Second)
		was := l.Deadline()
		work, stop := l.Keep(t.Context())
		for range 30 {
			time.Sleep(time.Second)
			server.FastForward(time.Second)
		}
		if work.Err() != nil {
			t.Fatalf("the work ended: %v", context.Cause(work))
		}
		stop()
		if !l.Deadline().After(was) || work.Err() == nil {
			t.Fatal("stop did not end the work, or nothing was renewed")
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWorkEndsWhenTheLeaseIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis, rdb *redis.Client) {
		l := acquire(t, rdb, 9*time.Second)
		work, stop := l.Keep(t.Context())
		defer stop()
		began := time.Now()
		server.FastForward(10 * time.Second)
		<-work.Done()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the work went on for %s: the next renewal shows that the lease is lost", took)
		}
		if !errors.Is(context.Cause(work), lease.ErrLost) {
			t.Fatalf("cause %v", context.Cause(work))
		}
	})
}

func TestWorkEndsBeforeTheDeadlineWhenRedisIsAway(t *testing.T) {
	t.Parallel()
	server, rdb := newRedis(t)
	l := acquire(t, rdb, 4*time.Second) // its margin of a tenth is long for a busy machine too
	work, stop := l.Keep(t.Context())
	defer stop()
	server.Close()
	<-work.Done()
	if !time.Now().Before(l.Deadline()) {
		t.Fatal("the work ended after another could have begun")
	}
	if !errors.Is(context.Cause(work), lease.ErrLost) {
		t.Fatalf("cause %v", context.Cause(work))
	}
}

func TestTheFenceSharesTheSlotOfItsKey(t *testing.T) {
	for _, k := range []string{key, "lock:{acme}", "{acme}:lock"} {
		server, rdb := newRedis(t)
		if _, err := lease.Acquire(t.Context(), rdb, k, time.Second); err != nil {
			t.Fatal(err)
		}
		keys := server.Keys()
		if len(keys) != 2 || hashTag(keys[0]) != hashTag(keys[1]) {
			t.Errorf("keys %q lie in different slots", keys)
		}
	}
}

// hashTag is the part of a key by which Redis Cluster chooses its slot.
func hashTag(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(after, "}"); ok && tag != "" {
			return tag
		}
	}
	return key
}
