package kafka_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// TestPartitionWhoseRecordsHaveExpiredIsNotWaitedFor: no offset of it can
// be committed any more.
func TestPartitionWhoseRecordsHaveExpiredIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	in := kafka.Partition{Topic: "in"}
	produce(t, cfg, "in", 0, 10)
	if err := c.DeleteRecords("in", 0, 10); err != nil {
		t.Fatal(err)
	}
	x := &doubling{committed: map[string]int{}}
	d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g"}, x.transform, "out")
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := d.DrainAll(ctx); err != nil {
		t.Fatal(err)
	}
	if rest, err := kafka.Remaining(t.Context(), cfg, "in"); err != nil || len(rest) != 0 {
		t.Errorf("remaining %v, %v, want nothing", rest, err)
	}
	produce(t, cfg, "in", 10, 12)
	rest, err := kafka.Remaining(t.Context(), cfg, "in")
	if err != nil || len(rest) != 1 || rest[in] != 12 {
		t.Errorf("remaining %v, %v, want up to offset 12", rest, err)
	}
	starts, err := kafka.Starts(t.Context(), cfg, "in")
	if err != nil {
		t.Fatal(err)
	}
	for done, want := range map[int64]int64{0: 2, 10: 2, 11: 1, 12: 0, 15: 0} {
		if n := (kafka.Offsets{in: done}).Behind(starts, rest); n != want {
			t.Errorf("%d records are left behind offset %d, want %d", n, done, want)
		}
	}
	if n := (kafka.Offsets{}).Behind(starts, rest); n != 2 {
		t.Errorf("%d records are left of a partition nothing is done of, want 2", n)
	}
	if _, err := kafka.Starts(t.Context(), cfg, "no such topic"); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the starts of a topic that is not there: %v", err)
	}
}
