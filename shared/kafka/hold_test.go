package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// slow is a store that takes too long for blocks of more than a few records.
type slow struct {
	memoryStore
	most    atomic.Int64
	largest atomic.Int64 // of what was stored
}

func (s *slow) Prepare(_ context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	return func(ctx context.Context) (kafka.Offsets, error) {
		if int64(len(b.Records)) > s.most.Load() {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s.largest.Store(max(s.largest.Load(), int64(len(b.Records))))
		return b.Next, s.put(topicID, b)
	}, nil
}

func TestBlockThatAStoreCannotTakeInItsTimeIsTriedSmaller(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 1, "in"), &slow{}
	s.most.Store(1)
	produce(t, cfg, "in", 0, 8)
	bounds := kafka.Bounds{Records: 8, Bytes: 1 << 20, Age: 200 * time.Millisecond, Limit: 100 * time.Millisecond}
	d, err := kafka.NewStoreDrain("test", cfg, bounds, kafka.Share{}, map[string]kafka.Store{"in": s})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	for deadline := time.Now().Add(40 * time.Second); d.Covered()[kafka.Partition{Topic: "in"}] < 8; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the drain is at %v, with %v", d.Covered(), d.Err())
		}
	}
	if distinct, all := s.distinct(); distinct != 8 || all != 8 {
		t.Errorf("%d distinct of %d", distinct, all)
	}
}

func TestBlocksBecomeLargeAgainOnceTheyAreDoneInTime(t *testing.T) {
	t.Parallel()
	cfg, s := cluster(t, 1, "in"), &slow{}
	s.most.Store(1)
	produce(t, cfg, "in", 0, 16)
	bounds := kafka.Bounds{Records: 16, Bytes: 1 << 20, Age: time.Second, Limit: 200 * time.Millisecond}
	d, err := kafka.NewStoreDrain("test", cfg, bounds, kafka.Share{}, map[string]kafka.Store{"in": s})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	in := kafka.Partition{Topic: "in"}
	until := func(next int64) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); d.Covered()[in] < next; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the drain is at %v, with %v", d.Covered(), d.Err())
			}
		}
	}
	until(1)
	s.most.Store(16)
	until(16)
	for n := 16; n < 200; n += 16 {
		produce(t, cfg, "in", n, n+16)
		until(int64(n + 16))
	}
	if n := s.largest.Load(); n < 16 {
		t.Errorf("the largest block has %d records, want 16", n)
	}
}

func TestBlockThatIsNotComputedInItsTimeIsTriedSmaller(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in", "out")
	produce(t, cfg, "in", 0, 8)
	transform := func(ctx context.Context, b kafka.Block, emit func(*kgo.Record)) (func(context.Context) error, error) {
		if len(b.Records) > 1 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		for _, r := range b.Records {
			emit(&kgo.Record{Topic: "out", Value: r.Value})
		}
		return func(context.Context) error { return nil }, nil
	}
	d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 8, Bytes: 1 << 20, Limit: 500 * time.Millisecond}, "in", kafka.Group{Name: "g", Member: "0"}, transform)
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	for deadline := time.Now().Add(60 * time.Second); d.Covered()[kafka.Partition{Topic: "in"}] < 8; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the drain is at %v, with %v", d.Covered(), d.Err())
		}
	}
	if got := values(t, cfg, "out"); len(got) != 8 {
		t.Errorf("%v came out, want each of 8", got)
	}
}

func TestOutputThatCannotBeWrittenBuriesItsInput(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in", "out", "in.dlq")
	produce(t, cfg, "in", 0, 20)
	transform := func(_ context.Context, b kafka.Block, emit func(*kgo.Record)) (func(context.Context) error, error) {
		for _, r := range b.Records {
			value := r.Value
			if string(value) == "13" {
				value = make([]byte, 2_000_000)
			}
			emit(&kgo.Record{Topic: "out", Value: value})
		}
		return func(context.Context) error { return nil }, nil
	}
	d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g", Member: "0"}, transform)
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	wake(t, d)
	got := values(t, cfg, "out")
	if len(got) != 19 || got["13"] != 0 {
		t.Errorf("%d values came out, want all but 13", len(got))
	}
	var ids []string
	for _, r := range records(t, cfg, "in.dlq") {
		var l event.DeadLetter
		if err := json.Unmarshal(r.Value, &l); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, l.ID())
		if string(l.Value64) != "13" || l.Stage != "test" || !strings.Contains(l.Reason, "MESSAGE_TOO_LARGE") {
			t.Errorf("%+v", l)
		}
	}
	if len(ids) != 1 {
		t.Errorf("letters %v, want one", ids)
	}
}

// rejecting is a store to which every record is invalid.
type rejecting struct {
	memoryStore
	letters *kafka.DeadLetters
	decoder *kafka.Decoder[string]
}

func (p *rejecting) Prepare(ctx context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	_, bad, err := p.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (kafka.Offsets, error) {
		if err := p.letters.Write(ctx, bad); err != nil {
			return nil, err
		}
		return b.Next, p.put(topicID, b)
	}, nil
}

func newRejecting(t *testing.T, cfg kafka.Config) *rejecting {
	t.Helper()
	letters, err := kafka.NewDeadLetters(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(letters.Close)
	return &rejecting{letters: letters, decoder: kafka.NewDecoder(func(context.Context, *kgo.Record, *string) error { return event.Invalid("refused") })}
}

func TestDeadLetterIsWrittenOnceHoweverOftenItsBlockIsTried(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in", "in.dlq")
	s := newRejecting(t, cfg)
	produce(t, cfg, "in", 0, 50)
	s.set(errors.New("the disk is full"))
	d, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, kafka.Share{}, map[string]kafka.Store{"in": s})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	for deadline := time.Now().Add(20 * time.Second); s.tries() < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the store was tried %d times", s.tries())
		}
	}
	s.set(nil)
	wake(t, d)
	letters := map[string]int{}
	for _, r := range records(t, cfg, "in.dlq") {
		letters[string(r.Key)]++
	}
	if len(letters) != 50 {
		t.Errorf("%d letters, want 50", len(letters))
	}
	for id, n := range letters {
		if n != 1 {
			t.Errorf("%s was written %d times", id, n)
		}
	}
}

// A broker that takes 20 ms for a request leaves no time to wait for each dead
// letter by itself.
func TestFloodOfDeadLettersIsWrittenTogether(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "in.dlq"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	s := newRejecting(t, cfg)
	produce(t, cfg, "in", 0, 2000)
	requests := 0
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		requests++
		c.SleepControl(func() { time.Sleep(20 * time.Millisecond) })
		return nil, nil, false
	})
	d, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 2000, Bytes: 1 << 20, Age: time.Second}, kafka.Share{}, map[string]kafka.Store{"in": s})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	wake(t, d)
	if n := len(records(t, cfg, "in.dlq")); n != 2000 {
		t.Errorf("%d letters", n)
	}
	if requests > 500 {
		t.Errorf("%d requests for 2000 letters", requests)
	}
}

func TestTopicThatTakesLessThanIsWrittenStopsTheDrain(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1)
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{"max.message.bytes": kadm.StringPtr("500000")}, "in"); err != nil {
		t.Fatal(err)
	}
	refused(t, cfg, &memoryStore{}, "max.message.bytes")
}

// once answers the first request of a kind with an error, and no other.
func once(c *kfake.Cluster, key int16, answer func(kmsg.Request) kmsg.Response) *atomic.Int32 {
	var answered atomic.Int32
	c.ControlKey(key, func(r kmsg.Request) (kmsg.Response, error, bool) {
		answered.Add(1)
		return answer(r), nil, true
	})
	return &answered
}

func TestEveryClassOfErrorIsAnsweredInItsOwnWay(t *testing.T) {
	t.Parallel()
	const (
		goesOn = "goes on by itself"
		stops  = "stops"
	)
	end := func(e *kerr.Error) func(kmsg.Request) kmsg.Response {
		return func(r kmsg.Request) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = e.Code
			return resp
		}
	}
	heartbeat := func(e *kerr.Error) func(kmsg.Request) kmsg.Response {
		return func(r kmsg.Request) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.HeartbeatResponse)
			resp.ErrorCode = e.Code
			return resp
		}
	}
	join := func(e *kerr.Error) func(kmsg.Request) kmsg.Response {
		return func(r kmsg.Request) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.JoinGroupResponse)
			resp.ErrorCode = e.Code
			return resp
		}
	}
	f := func(name, member string, key int16, answer func(kmsg.Request) kmsg.Response, want string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			cfg := kafka.Config{Brokers: c.ListenAddrs()}
			produce(t, cfg, "in", 0, 10)
			answered := once(c, key, answer)
			x := &doubling{committed: map[string]int{}}
			d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g", Member: member}, x.transform)
			if err != nil {
				t.Fatal(err)
			}
			d.Start()
			defer stop(t, d)
			failed := func() error {
				for deadline := time.Now().Add(20 * time.Second); d.Err() == nil && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				}
				return d.Err()
			}
			switch want {
			case goesOn:
				for deadline := time.Now().Add(20 * time.Second); answered.Load() == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				}
				produce(t, cfg, "in", 10, 20) // records after the error
				patience := 20 * time.Second
				if member == "" { // a transaction that it left open ends with its timeout of 30 s
					patience = 40 * time.Second
				}
				for deadline := time.Now().Add(patience); d.Covered()[kafka.Partition{Topic: "in"}] < 20; time.Sleep(20 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("it is at %v, with %v", d.Covered(), d.Err())
					}
				}
			case stops:
				if err := failed(); !errors.Is(err, kafka.ErrFatal) {
					t.Fatalf("%v: want it stopped", err)
				}
				return
			}
			if answered.Load() == 0 {
				t.Error("the error was never given")
			}
			for v, n := range values(t, cfg, "out") {
				if n != 2 {
					t.Errorf("value %s came out %d times, want 2", v, n)
				}
			}
		})
	}
	endTxn, beat, joins := int16(kmsg.EndTxn), int16(kmsg.Heartbeat), int16(kmsg.JoinGroup)
	f("retriable", "0", joins, join(kerr.GroupAuthorizationFailed), goesOn)
	f("abortable", "0", endTxn, end(kerr.TransactionAbortable), goesOn)
	f("rejoin: a session that expired", "0", beat, heartbeat(kerr.UnknownMemberID), goesOn)
	f("rejoin: a rebalance without us", "", beat, heartbeat(kerr.IllegalGeneration), goesOn)
	f("fenced: its own transaction took too long", "0", endTxn, end(kerr.ProducerFenced), goesOn)
	f("fenced: the same, by its other name", "0", endTxn, end(kerr.InvalidProducerEpoch), goesOn)
	f("fenced: a name drawn by lot is nobody else's", "", endTxn, end(kerr.ProducerFenced), goesOn)
	f("fenced: by a process that has ended since", "0", joins, join(kerr.FencedInstanceID), goesOn)
	f("fatal", "0", joins, join(kerr.InvalidSessionTimeout), stops)
}

// TestProcessWhoseMemberNameWasTakenWaitsUntilItIsFree: a new session would
// fence the process that has it now.
func TestProcessWhoseMemberNameWasTakenWaitsUntilItIsFree(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in", "out")
	in := kafka.Partition{Topic: "in"}
	produce(t, cfg, "in", 0, 10)
	x := &doubling{committed: map[string]int{}}
	begun, release := make(chan struct{}), make(chan struct{})
	var blocks atomic.Int32
	start := func(transform kafka.Transform) *kafka.Drain {
		t.Helper()
		d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g", Member: "0"}, transform)
		if err != nil {
			t.Fatal(err)
		}
		d.Start()
		return d
	}
	until := func(what string, reached func() bool) {
		t.Helper()
		for deadline := time.Now().Add(40 * time.Second); !reached(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not within 40 s: %s", what)
			}
		}
	}
	first := start(func(ctx context.Context, b kafka.Block, produce func(*kgo.Record)) (func(context.Context) error, error) {
		if blocks.Add(1) == 1 {
			close(begun)
			<-release
		}
		return x.transform(ctx, b, produce)
	})
	defer stop(t, first)
	<-begun
	second := start(x.transform)
	until("the second has taken over", func() bool { return second.Covered()[in] >= 10 })
	close(release)
	until("the first has failed", func() bool { return first.Err() != nil })
	for n := 10; n < 40; n += 10 { // for longer than the pauses between failing sessions
		produce(t, cfg, "in", n, n+10)
		until("the second goes on", func() bool { return second.Covered()[in] >= int64(n+10) })
		time.Sleep(time.Second)
	}
	if n := blocks.Load(); n != 1 {
		t.Fatalf("the first has begun %d blocks, want 1: it fences the process that took its place", n)
	}
	if err := second.Err(); err != nil {
		t.Errorf("the second has failed: %v", err)
	}
	stop(t, second)
	produce(t, cfg, "in", 40, 50)
	until("the first goes on once the second's session has expired", func() bool { return first.Covered()[in] >= 50 })
	for v, n := range values(t, cfg, "out") {
		if n != 2 {
			t.Errorf("value %s came out %d times, want 2", v, n)
		}
	}
}

func TestDrainOfAnIdleTopicIsNotFailingForLong(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	once(c, int16(kmsg.JoinGroup), func(r kmsg.Request) kmsg.Response {
		resp := r.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode = kerr.GroupAuthorizationFailed.Code
		return resp
	})
	d, err := kafka.NewTransactDrain("test", kafka.Config{Brokers: c.ListenAddrs()}, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g", Member: "0"}, (&doubling{}).transform)
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	defer stop(t, d)
	until := func(failing bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); (d.Err() != nil) != failing; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the drain has %v", d.Err())
			}
		}
	}
	until(true)
	until(false)
}

// stuck is a store whose puts last until their context ends.
type stuck struct {
	memoryStore
	begun chan struct{}
	ended atomic.Bool
}

func (s *stuck) Prepare(context.Context, string, kafka.Block) (kafka.Put, error) {
	return func(ctx context.Context) (kafka.Offsets, error) {
		close(s.begun)
		<-ctx.Done()
		s.ended.Store(true)
		return nil, ctx.Err()
	}, nil
}

// It is not parallel: the drain has 0.7 s of real time to end, and needs a processor
// for some of that.
func TestStopCancelsTheCurrentBlockWhenThereIsNoTimeForIt(t *testing.T) {
	cfg, s := cluster(t, 1, "in"), &stuck{begun: make(chan struct{})}
	produce(t, cfg, "in", 0, 10)
	d, err := kafka.NewStoreDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, kafka.Share{}, map[string]kafka.Store{"in": s})
	if err != nil {
		t.Fatal(err)
	}
	d.Start()
	<-s.begun
	bell := make(chan error, 1)
	go func() { bell <- d.Cover(context.Background(), kafka.Partition{Topic: "in"}, 9) }()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if err := d.Stop(ctx); err != nil {
		t.Error(err)
	}
	if !s.ended.Load() {
		t.Error("the drain says that it has stopped, but its block is not cancelled")
	}
	select {
	case <-bell:
	case <-ctx.Done():
		t.Error("a bell still waits")
	}
}
