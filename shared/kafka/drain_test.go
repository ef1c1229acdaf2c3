package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

func cluster(t *testing.T, partitions int32, topics ...string) kafka.Config {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return kafka.Config{Brokers: c.ListenAddrs()}
}

func produce(t *testing.T, cfg kafka.Config, topic string, from, to int) {
	t.Helper()
	p, err := kafka.NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := from; i < to; i++ {
		p.Produce(context.Background(), &kgo.Record{Topic: topic, Key: fmt.Append(nil, i%7), Value: fmt.Append(nil, i)}, nil)
	}
	if err := p.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// memoryStore is a store in memory that can be made to fail.
type memoryStore struct {
	mu     sync.Mutex
	values []string
	marks  map[int32]kafka.Mark
	fail   error
	puts   int
	waits  func() // is called before Resume returns
}

func (s *memoryStore) Resume(context.Context, string, []int32) ([]kafka.Mark, error) {
	if s.waits != nil {
		s.waits()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []kafka.Mark
	for _, m := range s.marks {
		out = append(out, m)
	}
	return out, nil
}

func (s *memoryStore) Prepare(_ context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	return func(context.Context) (kafka.Offsets, error) { return b.Next, s.put(topicID, b) }, nil
}

func (s *memoryStore) put(topicID string, b kafka.Block) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.fail != nil {
		return s.fail
	}
	for _, r := range b.Records {
		s.values = append(s.values, string(r.Value))
	}
	if s.marks == nil {
		s.marks = map[int32]kafka.Mark{}
	}
	for p, next := range b.Next {
		s.marks[p.Number] = kafka.Mark{TopicID: topicID, Partition: p.Number, Next: next}
	}
	return nil
}

func (s *memoryStore) set(err error) { s.mu.Lock(); s.fail = err; s.mu.Unlock() }

func (s *memoryStore) tries() int { s.mu.Lock(); defer s.mu.Unlock(); return s.puts }

func (s *memoryStore) distinct() (distinct, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, v := range s.values {
		seen[v] = true
	}
	return len(seen), len(s.values)
}

func drainInto(t *testing.T, cfg kafka.Config, s *memoryStore) *kafka.Drain {
	t.Helper()
	d, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, kafka.Share{}, map[string]kafka.Store{"in": s})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	return d
}

func stop(t *testing.T, d *kafka.Drain) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestStoreDrainGoesOnWhereItsStoreStands(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 3, "in"), &memoryStore{}
	for i := range 3 {
		produce(t, cfg, "in", i*1000, (i+1)*1000)
		d := drainInto(t, cfg, s)
		if err := d.Wake(context.Background()); err != nil {
			t.Fatal(err)
		}
		stop(t, d)
	}
	if distinct, all := s.distinct(); distinct != 3000 || all != 3000 {
		t.Errorf("%d distinct of %d stored, want 3000 once each", distinct, all)
	}
}

// hoarder is a store that holds blocks back while more are to follow.
type hoarder struct {
	memoryStore
	held kafka.Offsets
	more int // blocks that were held back
}

func (h *hoarder) Prepare(_ context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	return func(context.Context) (kafka.Offsets, error) {
		maps.Copy(h.held, b.Next)
		if err := h.put(topicID, b); err != nil || b.More {
			h.more++
			return nil, err
		}
		done := h.held
		h.held = kafka.Offsets{}
		return done, nil
	}, nil
}

func TestBlocksThatAStoreHoldsBackAreCoveredByTheLast(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 3, "in")
	produce(t, cfg, "in", 0, 1000)
	h := &hoarder{held: kafka.Offsets{}}
	d, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, kafka.Share{}, map[string]kafka.Store{"in": h})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := d.DrainAll(ctx); err != nil {
		t.Fatal(err)
	}
	stop(t, d)
	if distinct, all := h.distinct(); distinct != 1000 || all != 1000 {
		t.Errorf("%d values in %d records", distinct, all)
	}
	if len(h.held) > 0 || h.more == 0 {
		t.Errorf("%d blocks were held back, of %d partitions to the end", h.more, len(h.held))
	}
}

func TestSharesDrainTheirPartitionsSideBySide(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 5, "in"), &memoryStore{}
	produce(t, cfg, "in", 0, 3000)
	for _, text := range []string{"0/2", "1/2", "1/2"} { // one is repeated
		var share kafka.Share
		if err := share.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		d, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, share, map[string]kafka.Store{"in": s})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.DrainAll(t.Context()); err != nil {
			t.Error(err)
		}
		for p := range d.Covered() {
			if got := int(p.Number) % share.Of; got != share.Index {
				t.Errorf("share %s drained partition %d", text, p.Number)
			}
		}
		stop(t, d)
	}
	if distinct, all := s.distinct(); distinct != 3000 || all != 3000 {
		t.Errorf("%d distinct of %d stored, want 3000 once each", distinct, all)
	}
}

func TestShareThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1", "2/2", "-1/2", "0/0", "a/b", "1/2/3", "/"} {
		var s kafka.Share
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %v", text, s)
		}
	}
}

func TestBellIsAnsweredOnceItsRecordIsStored(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 1, "in"), &memoryStore{}
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	produce(t, cfg, "in", 0, 10)
	if err := d.Cover(context.Background(), kafka.Partition{Topic: "in"}, 9); err != nil {
		t.Fatal(err)
	}
	if distinct, _ := s.distinct(); distinct != 10 {
		t.Errorf("answered with %d of 10 stored", distinct)
	}
	// The same bell again, and an older one, are answered at once.
	began := time.Now()
	for offset := range int64(10) {
		if err := d.Cover(context.Background(), kafka.Partition{Topic: "in"}, offset); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("known bells took %s", took)
	}
}

func TestBellErrsWhileTheStoreFailsAndIsMadeUpForAfterwards(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 1, "in"), &memoryStore{}
	s.set(errors.New("disk full"))
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	produce(t, cfg, "in", 0, 10)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := d.Cover(ctx, kafka.Partition{Topic: "in"}, 9); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("%v: want the store's error", err)
	}
	s.set(nil)
	deadline := time.Now().Add(20 * time.Second)
	for err := d.Wake(context.Background()); err != nil; err = d.Wake(context.Background()) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if distinct, all := s.distinct(); distinct != 10 || all != 10 {
		t.Errorf("%d distinct of %d", distinct, all)
	}
}

func TestOpenBreakerRefusesBellsAtOnceAndClosesAgainByItself(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in")
	s := &memoryStore{}
	s.set(errors.New("clickhouse is away"))
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	produce(t, cfg, "in", 0, 10)
	deadline := time.Now().Add(20 * time.Second)
	for d.Breaker() != "open" {
		if time.Now().After(deadline) {
			t.Fatalf("the breaker is %s", d.Breaker())
		}
		time.Sleep(10 * time.Millisecond)
	}
	began, tried := time.Now(), s.tries()
	if err := d.Cover(context.Background(), kafka.Partition{Topic: "in"}, 3); !errors.Is(err, kafka.ErrOpen) || time.Since(began) > time.Second {
		t.Errorf("%v after %s: want a refusal at once", err, time.Since(began))
	}
	if tried != 3 {
		t.Errorf("the store was tried %d times, want 3", tried)
	}
	s.set(nil)
	for d.Breaker() != "closed" {
		if time.Now().After(deadline.Add(20 * time.Second)) {
			t.Fatalf("the breaker is %s", d.Breaker())
		}
		time.Sleep(10 * time.Millisecond)
	}
	// The block that closed it was a small one: the rest follows.
	if err := d.Cover(t.Context(), kafka.Partition{Topic: "in"}, 9); err != nil {
		t.Error(err)
	}
	if distinct, all := s.distinct(); distinct != 10 || all != 10 {
		t.Errorf("%d values, %d distinct", all, distinct)
	}
}

func TestPartitionsThatAreAddedAreDrainedToo(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 1, "in"), &memoryStore{}
	produce(t, cfg, "in", 0, 100)
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	if err := d.Wake(context.Background()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).UpdatePartitions(context.Background(), 4, "in"); err != nil {
		t.Fatal(err)
	}
	produce(t, cfg, "in", 100, 1000)
	// A client caches metadata for some seconds: a wake before that sees
	// the old partitions only.
	for deadline := time.Now().Add(30 * time.Second); len(d.Covered()) < 4 && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err := d.Wake(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Wake(context.Background()); err != nil {
		t.Fatal(err)
	}
	if distinct, all := s.distinct(); distinct != 1000 || all != 1000 {
		t.Errorf("%d distinct of %d stored, want 1000 once each", distinct, all)
	}
	partitions := map[int32]bool{}
	for p := range d.Covered() {
		partitions[p.Number] = true
	}
	if len(partitions) != 4 {
		t.Errorf("%d partitions are drained, want 4", len(partitions))
	}
}

// TestPartitionsThatAreAddedAreTransactedToo: the member of a group that leads it
// looks for new partitions of its topic every few minutes by itself.
func TestPartitionsThatAreAddedAreTransactedToo(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in", "out")
	produce(t, cfg, "in", 0, 100)
	x := &doubling{committed: map[string]int{}}
	d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g", Member: "0"}, x.transform)
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	if err := d.Wake(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).UpdatePartitions(t.Context(), 4, "in"); err != nil {
		t.Fatal(err)
	}
	produce(t, cfg, "in", 100, 1000)
	for deadline := time.Now().Add(40 * time.Second); len(d.Covered()) < 4; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 40 s only these are drained: %v", d.Covered())
		}
		if err := d.Wake(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTopicMadeAgainStopsTheDrain(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in")
	s := &memoryStore{marks: map[int32]kafka.Mark{0: {TopicID: strings.Repeat("0", 32), Next: 5}}}
	refused(t, cfg, s, "was recreated")
}

func TestLogThatLostRecordsStopsTheDrain(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in")
	produce(t, cfg, "in", 0, 3)
	id, err := kafka.TopicID(context.Background(), cfg, "in")
	if err != nil {
		t.Fatal(err)
	}
	s := &memoryStore{marks: map[int32]kafka.Mark{0: {TopicID: id, Next: 5}}}
	refused(t, cfg, s, "has lost records")
}

// A broker that answers for some partitions only has not lost the others.
func TestOffsetsThatAreNotToldAreNoLostRecords(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	produce(t, cfg, "in", 0, 10)
	id, err := kafka.TopicID(t.Context(), cfg, "in")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	c.ControlKey(kmsg.ListOffsets.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if asked++; asked > 4 {
			return nil, nil, false
		}
		answer := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		answer.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: "in"}}
		return answer, nil, true
	})
	s := &memoryStore{marks: map[int32]kafka.Mark{0: {TopicID: id, Next: 5}}}
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	if err := d.Cover(t.Context(), kafka.Partition{Topic: "in"}, 9); err != nil {
		t.Fatal(err)
	}
	if distinct, all := s.distinct(); distinct != 5 || all != 5 {
		t.Errorf("%d distinct of %d stored, want the 5 that were left", distinct, all)
	}
}

// A store that waits for another writer may be further than the log was when the
// wait began.
func TestAWriterBeforeThatGoesOnStoringIsNoLostLog(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in")
	produce(t, cfg, "in", 0, 10)
	id, err := kafka.TopicID(t.Context(), cfg, "in")
	if err != nil {
		t.Fatal(err)
	}
	s := &memoryStore{}
	s.waits = func() {
		s.waits = nil
		produce(t, cfg, "in", 10, 15)
		s.marks = map[int32]kafka.Mark{0: {TopicID: id, Next: 15}}
	}
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	if err := d.Cover(t.Context(), kafka.Partition{Topic: "in"}, 14); err != nil {
		t.Fatal(err)
	}
	if _, all := s.distinct(); all != 0 {
		t.Errorf("%d records were stored again", all)
	}
}

func refused(t *testing.T, cfg kafka.Config, s *memoryStore, why string) {
	t.Helper()
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	err := d.Cover(context.Background(), kafka.Partition{Topic: "in"}, 100)
	if !errors.Is(err, kafka.ErrFatal) || !strings.Contains(err.Error(), why) {
		t.Errorf("%v: want it stopped, for %s", err, why)
	}
	if s.puts != 0 {
		t.Errorf("%d blocks were stored all the same", s.puts)
	}
}

func TestRecordsDeletedBeforeTheyWereStoredAreAGapNotAnEnd(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 1, "in"), &memoryStore{}
	produce(t, cfg, "in", 0, 10)
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = kadm.NewClient(client).DeleteRecords(context.Background(), kadm.Offsets{"in": {0: {Topic: "in", Partition: 0, At: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := kafka.TopicID(context.Background(), cfg, "in")
	if err != nil {
		t.Fatal(err)
	}
	s.marks = map[int32]kafka.Mark{0: {TopicID: id, Next: 2}}
	d := drainInto(t, cfg, s)
	defer stop(t, d)
	if err := d.Wake(context.Background()); err != nil {
		t.Fatal(err)
	}
	if distinct, _ := s.distinct(); distinct != 6 {
		t.Errorf("%d stored, want the 6 that are left", distinct)
	}
}

// doubling emits every record twice, and counts what it has done after commits.
type doubling struct {
	mu        sync.Mutex
	committed map[string]int // times that afterCommit was called with each value
	before    error          // once, after half of a block was emitted
	after     error          // once, after a commit
}

func (x *doubling) transform(_ context.Context, b kafka.Block, emit func(*kgo.Record)) (func(context.Context) error, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, r := range b.Records {
		if err := x.before; err != nil && i == len(b.Records)/2 {
			x.before = nil
			return nil, err
		}
		for range 2 {
			emit(&kgo.Record{Topic: "out", Key: r.Key, Value: r.Value})
		}
	}
	return func(context.Context) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if err := x.after; err != nil {
			x.after = nil
			return err
		}
		for _, r := range b.Records {
			x.committed[string(r.Value)]++
		}
		return nil
	}, nil
}

// values counts each value that a topic holds, of committed transactions.
func values(t *testing.T, cfg kafka.Config, topic string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, r := range records(t, cfg, topic) {
		got[string(r.Value)]++
	}
	return got
}

func records(t *testing.T, cfg kafka.Config, topic string) (all []*kgo.Record) {
	t.Helper()
	ends, err := kafka.Ends(t.Context(), cfg, topic)
	if err != nil {
		t.Fatal(err)
	}
	for p, end := range ends {
		err := kafka.ReadRange(t.Context(), cfg, p, 0, end, func(records []*kgo.Record, _ int64) error {
			all = append(all, records...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// wake drains what is in the topics now, however often the drain fails.
func wake(t *testing.T, d *kafka.Drain) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for err := d.Wake(t.Context()); err != nil; err = d.Wake(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestTransactionCommitsOutputAndOffsetsTogether(t *testing.T) {
	t.Parallel()
	f := func(name string, before, after error) {
		t.Run(name, func(t *testing.T) {
			cfg := cluster(t, 3, "in", "out")
			x := &doubling{committed: map[string]int{}, before: before, after: after}
			produce(t, cfg, "in", 0, 1000)
			for range 2 {
				d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g", Member: "0"}, x.transform)
				if err != nil {
					t.Fatal(err)
				}
				d.Start()
				wake(t, d)
				stop(t, d)
			}
			got := values(t, cfg, "out")
			if len(got) != 1000 {
				t.Errorf("%d distinct values, want 1000", len(got))
			}
			for v, n := range got {
				if n != 2 {
					t.Fatalf("value %s came out %d times, want 2", v, n)
				}
			}
			want := 1000
			if after != nil {
				want = 900 // afterCommit is not called again where it failed
			}
			for v, n := range x.committed {
				if n != 1 {
					t.Errorf("value %s was passed to afterCommit %d times", v, n)
				}
			}
			if n := len(x.committed); n < want || n == 1000 && after != nil {
				t.Errorf("%d values were passed to afterCommit, want %d", n, want)
			}
			if x.before != nil || x.after != nil {
				t.Error("nothing failed")
			}
		})
	}
	f("nothing fails", nil, nil)
	f("before the commit", errors.New("redis is away"), nil)
	f("after the commit", nil, errors.New("redis is away"))
}
