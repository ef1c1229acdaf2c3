package sinkclickhouse

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/lease"
)

// A writer that leaves, as at SIGTERM, lets the next one begin at once; one that
// was killed makes it wait for its lease and its last insert, 22 s.
func TestWriterThatLeavesHandsItsLeasesOver(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { client.Close() })
	partitions := []int32{0, 1, 2}
	for _, p := range partitions { // Redis remembers a writer, so ClickHouse need not be asked
		l, err := lease.Acquire(t.Context(), client, leaseKey(p), leaseTTL)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first, second := &writer{redis: client}, &writer{redis: client}
	if err := first.take(t.Context(), partitions); err != nil {
		t.Fatal(err)
	}
	refused, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := second.take(refused, partitions); err == nil {
		t.Fatal("two writers at once")
	}
	if _, _, err := second.fence(t.Context()); err == nil {
		t.Fatal("a writer without a lease may insert")
	}
	began := time.Now()
	taken := make(chan error, 1)
	go func() { taken <- second.take(context.Background(), partitions) }()
	if err := first.leave(); err != nil {
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
	if err := second.leave(); err != nil {
		t.Error(err)
	}
}
