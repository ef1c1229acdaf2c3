package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/lease"
)

// remembering is a Redis that has known a writer of some partitions, so that
// ClickHouse need not be asked.
func remembering(t *testing.T, partitions []int32) redis.UniversalClient {
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { client.Close() })
	for _, p := range partitions {
		l, err := lease.Acquire(t.Context(), client, leaseKey(p), leaseTTL)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return client
}

// A writer that leaves, as at SIGTERM, lets the next one begin at once; one that
// was killed makes it wait for its lease and its last insert, 22 s.
func TestWriterThatLeavesHandsItsLeasesOver(t *testing.T) {
	partitions := []int32{0, 1, 2}
	client := remembering(t, partitions)
	first, second := &writer{redis: client}, &writer{redis: client}
	if err := first.acquireAll(t.Context(), partitions); err != nil {
		t.Fatal(err)
	}
	refused, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var other *lease.Held
	if err := second.acquireAll(refused, partitions); !errors.As(err, &other) {
		t.Fatalf("two writers at once, or another reason: %v", err)
	}
	if _, _, err := second.fence(t.Context()); err == nil {
		t.Fatal("a writer without a lease may insert")
	}
	began := time.Now()
	taken := make(chan error, 1)
	go func() { taken <- second.acquireAll(context.Background(), partitions) }()
	if err := first.release(); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the successor waited %s", took)
	}
	if _, _, err := first.fence(t.Context()); err == nil {
		t.Error("a writer that has left may insert")
	}
	if err := second.release(); err != nil {
		t.Error(err)
	}
}

func TestNobodyWritesWhileAnInsertThatWasNotAnsweredMayLand(t *testing.T) {
	partitions := []int32{0}
	// take takes the right to write. Where there is nothing to wait for it has less
	// time than any wait is long, else it is broken off.
	take := func(w *writer, waits bool) error {
		limit := min(leaseTTL, insertGrace) - time.Second
		if waits {
			limit = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return w.acquireAll(ctx, partitions)
	}
	for name, c := range map[string]struct {
		err  error
		lost bool
	}{
		"stored":        {nil, false},
		"refused":       {fmt.Errorf("insert: %w", &clickhouse.Exception{Code: 60}), false},
		"not reached":   {fmt.Errorf("insert: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), false},
		"broken off":    {fmt.Errorf("insert: %w", &net.OpError{Op: "read", Err: syscall.ECONNRESET}), true},
		"took too long": {fmt.Errorf("insert: %w", context.DeadlineExceeded), true},
	} {
		t.Run(name, func(t *testing.T) {
			client := remembering(t, partitions)
			first, second := &writer{redis: client}, &writer{redis: client}
			if err := first.acquireAll(t.Context(), partitions); err != nil {
				t.Fatal(err)
			}
			if err := first.write(t.Context(), func(context.Context) error { return c.err }); !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if err := take(first, c.lost); c.lost && !errors.Is(err, context.DeadlineExceeded) || !c.lost && err != nil {
				t.Errorf("the writer itself: %v", err)
			}
			if err := first.release(); err != nil {
				t.Fatal(err)
			}
			var other *lease.Held
			if err := take(second, c.lost); c.lost && !errors.As(err, &other) || !c.lost && err != nil {
				t.Errorf("another writer: %v", err)
			}
		})
	}
}
