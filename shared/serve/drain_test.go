package serve_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// busy is a store whose first block takes as long as the test likes, whatever its
// context says, as an insert on its way to a server does.
type busy struct {
	begun, finish chan struct{}
}

func (b *busy) Resume(context.Context, string, []int32) ([]kafka.Mark, error) { return nil, nil }

func (b *busy) Prepare(_ context.Context, _ string, block kafka.Block) (kafka.Put, error) {
	return func(context.Context) (kafka.Offsets, error) {
		close(b.begun)
		<-b.finish
		return block.Next, nil
	}, nil
}

// A lease that was given back would let a successor write beside an insert that
// is still on its way.
func TestWhatADrainStandsOnIsClosedOnlyOnceTheDrainHasStopped(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	store := &busy{begun: make(chan struct{}), finish: make(chan struct{})}
	drain, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 1, Bytes: 1 << 20}, kafka.Share{}, map[string]kafka.Store{"in": store})
	if err != nil {
		t.Fatal(err)
	}
	var closed []string
	closer := func(name string) func() error {
		return func() error { closed = append(closed, name); return nil }
	}
	d := &serve.Draining{Drain: drain, Topics: []string{"in"}, Closers: []func() error{closer("lease"), closer("connection")}}
	drain.Start()
	<-store.begun
	end := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return d.Close(ctx)
	}
	if err := end(300 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || len(closed) != 0 {
		t.Errorf("close with a block on its way: %v, and %v are closed; want an error, and none", err, closed)
	}
	close(store.finish)
	if err := end(20 * time.Second); err != nil || len(closed) != 2 || closed[0] != "lease" {
		t.Errorf("close of a drain that is quiet: %v, and %v are closed; want both in their order", err, closed)
	}
}
