package kafka_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

func bell(offset int64) (kafka.Partition, int64) { return kafka.Partition{Topic: "in.bells"}, offset }

func TestBellIsAnsweredWhenWhatItRangForIsDurable(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 3, "in"), &memoryStore{}
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	for i := range 3 {
		produce(t, cfg, "in", i*500, (i+1)*500)
		p, offset := bell(int64(i))
		if err := d.DrainToEnd(t.Context(), p, offset); err != nil {
			t.Fatal(err)
		}
		if distinct, _ := s.distinct(); distinct != (i+1)*500 {
			t.Errorf("%d records are stored when bell %d is answered, want %d", distinct, i, (i+1)*500)
		}
	}
}

// What an earlier bell rang for was in the log before a later one was written, so
// Kafka need not be asked.
func TestBellThatStandsBeforeAHeededOneIsAnsweredWithoutKafka(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	d := drainInto(t, cfg, &memoryStore{})
	defer stop(t, d)
	produce(t, cfg, "in", 0, 500)
	answer := func(offset int64) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p, offset := bell(offset)
		return d.DrainToEnd(ctx, p, offset)
	}
	if err := answer(5); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for _, offset := range []int64{5, 0} {
		if err := answer(offset); err != nil {
			t.Errorf("bell %d after bell 5: %v", offset, err)
		}
	}
	if err := answer(6); err == nil {
		t.Error("bell 6 is answered without a look at the topics")
	}
}

// A bell whose records are not stored yet does not count as answered.
func TestBellOfWhatIsNotStoredYetIsNotAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 3, "in"), &memoryStore{}
	s.set(errors.New("full"))
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	produce(t, cfg, "in", 0, 500)
	p, offset := bell(5)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := d.DrainToEnd(ctx, p, offset); err == nil {
		t.Error("the bell of a drain that fails is answered")
	}
	s.set(nil)
	for end := time.Now().Add(30 * time.Second); ; { // the breaker may be open for 10 s
		err := d.DrainToEnd(t.Context(), p, offset)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if distinct, _ := s.distinct(); distinct != 500 {
		t.Errorf("%d records are stored when the bell is answered, want 500", distinct)
	}
}

func TestBlockRingsOnceAndOnlyIfItIsCommitted(t *testing.T) {
	t.Parallel()
	in, out := event.TopicBaseRepos, event.TopicProcessedRepos
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, in, out), kfake.SeedTopics(1, event.BellTopic(out)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	produce(t, cfg, in, 0, 250)
	var tries, blocks atomic.Int64
	d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, in, kafka.Group{Name: "g", Member: "0"},
		func(_ context.Context, b kafka.Block, produce func(*kgo.Record)) (func(context.Context) error, error) {
			for _, r := range b.Records {
				produce(&kgo.Record{Topic: out, Key: r.Key, Value: r.Value})
			}
			if tries.Add(1) == 1 {
				return nil, errors.New("not yet")
			}
			return func(context.Context) error { blocks.Add(1); return nil }, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.DrainAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, d)
	p := kafka.Partition{Topic: event.BellTopic(out)}
	ends, err := kafka.Ends(t.Context(), cfg, p.Topic)
	if err != nil {
		t.Fatal(err)
	}
	var bells int64
	if err := kafka.ReadRange(t.Context(), cfg, p, 0, ends[p], func(records []*kgo.Record, _ int64) error {
		bells += int64(len(records))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if bells != blocks.Load() || bells == 0 {
		t.Errorf("%d bells for %d blocks that were committed, want one each", bells, blocks.Load())
	}
}

func BenchmarkBellOfWhatIsStored(b *testing.B) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	d, err := kafka.NewStoreDrain("test", kafka.Config{Brokers: c.ListenAddrs()}, kafka.Bounds{Records: 100, Bytes: 1 << 20}, kafka.Share{}, map[string]kafka.Store{"in": &memoryStore{}})
	if err != nil {
		b.Fatal(err)
	}
	d.Start()
	defer func() {
		if err := d.Stop(b.Context()); err != nil {
			b.Error(err)
		}
	}()
	p, last := bell(1 << 20)
	if err := d.DrainToEnd(b.Context(), p, last); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := d.DrainToEnd(b.Context(), p, 7); err != nil {
			b.Fatal(err)
		}
	}
}

// held is a store whose put waits until the test releases it.
type held struct {
	memoryStore
	letGo chan struct{}
}

func (h *held) Prepare(_ context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	return func(context.Context) (kafka.Offsets, error) {
		<-h.letGo
		return b.Next, h.put(topicID, b)
	}, nil
}

// A bell that is answered 2xx is not sent again. While work is left, the newest
// has to.
func TestNewestBellComesAgainWhileWorkIsLeft(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 1, "in"), &held{letGo: make(chan struct{})}
	produce(t, cfg, "in", 0, 10)
	d, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, kafka.Share{}, map[string]kafka.Store{"in": s})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	released := sync.OnceFunc(func() { close(s.letGo) })
	defer released()
	soon := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return do(ctx)
	}
	answer := func(offset int64) error {
		return soon(func(ctx context.Context) error {
			p, offset := bell(offset)
			return d.DrainToEnd(ctx, p, offset)
		})
	}
	for range 2 {
		if err := answer(5); !errors.Is(err, kafka.ErrBehind) {
			t.Errorf("the newest bell, with work left: %v, want that it is to come again", err)
		}
	}
	if err := answer(4); err != nil {
		t.Errorf("a bell that another has followed, with work left: %v", err)
	}
	if err := soon(func(ctx context.Context) error { return d.Cover(ctx, kafka.Partition{Topic: "in"}, 9) }); !errors.Is(err, kafka.ErrBehind) {
		t.Errorf("a record's own bell, with work left: %v, want that it is to come again", err)
	}
	if err := soon(d.Wake); err != nil {
		t.Errorf("a wake, with work left: %v", err)
	}
	if err := soon(func(ctx context.Context) error {
		return d.Publish(ctx, &kgo.Record{Topic: "in", Value: []byte("by hand")})
	}); err != nil {
		t.Errorf("an event posted by hand, with work left: %v", err)
	}
	released()
	p, offset := bell(5)
	if err := d.DrainToEnd(t.Context(), p, offset); err != nil {
		t.Errorf("the newest bell, with all done: %v", err)
	}
}
