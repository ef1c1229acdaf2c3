package knative

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// quick are retries that a test can wait for.
var quick = Delivery{Retry: 3, Exponential: true, Delay: time.Millisecond, Timeout: 2 * time.Second}

// begin starts a source of the topic.
func begin(t testing.TB, cfg Config, post poster) *source {
	t.Helper()
	return beginWith(t, cfg, quick, post)
}

func beginWith(t testing.TB, cfg Config, d Delivery, post poster) *source {
	t.Helper()
	cfg.Topology = &Topology{Namespace: "ns"}
	if cfg.CommitEvery == 0 {
		cfg.CommitEvery = 50 * time.Millisecond
	}
	return beginSource(t, cfg, Source{
		Name: "src", Function: "fn", Topic: topic, Group: "group",
		Extensions: map[string]string{topicExtension: topic},
		Delivery:   d,
	}, post)
}

func beginSource(t testing.TB, cfg Config, of Source, post poster) *source {
	t.Helper()
	client, err := kgo.NewClient(cfg.Kafka.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := newSource(of, cfg.withDefaults(), rand.New(rand.NewPCG(cfg.Seed, 0)), post)
	if err := s.start(t.Context(), kadm.NewClient(client)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// direct posts to an address as a function that is up.
func direct(address string) poster {
	client := &http.Client{Transport: newTransport()}
	return func(ctx context.Context, header http.Header, body []byte) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header = header
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		discard(resp.Body)
		return resp.StatusCode, nil
	}
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never %s", what)
		}
	}
}

func TestEachRecordIsPostedOnceAsItsEvent(t *testing.T) {
	cfg, producer := broker(t)
	const n = 300
	var records []*kgo.Record
	for i := range n {
		records = append(records, record(i))
	}
	produce(t, producer, records...)
	type got struct {
		header http.Header
		body   string
	}
	var mu sync.Mutex
	posts := map[string][]got{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		id := r.Header.Get("Ce-Id")
		posts[id] = append(posts[id], got{r.Header, string(body)})
	}))
	defer server.Close()
	s := begin(t, Config{Kafka: cfg}, direct(server.URL))
	eventually(t, "delivered", func() bool { return s.delivered.Load() == n })
	s.stop()
	for i, r := range records {
		p := posts[fmt.Sprintf("id-%d", i)]
		if len(p) != 1 {
			t.Fatalf("record %d is posted %d times", i, len(p))
		}
		if p[0].body != string(r.Value) {
			t.Errorf("body %q of record %d", p[0].body, i)
		}
		want := map[string]string{
			"Ce-Specversion": "1.0", "Ce-Type": "test", "Ce-Source": "/test", "Ce-Mayrepeat": "true", "Content-Type": "application/avro",
			"Ce-Knativekafkapartition": fmt.Sprint(r.Partition), "Ce-Knativekafkaoffset": fmt.Sprint(r.Offset), "Ce-Kafkatopic": topic,
			"Traceparent": "", "Ce-Partitionkey": "", "Ce-Key": "",
		}
		for name, value := range want {
			if got := p[0].header.Get(name); got != value {
				t.Errorf("%s of record %d is %q, want %q", name, i, got, value)
			}
		}
	}
}

func TestRecordIsGivenUpAfterItsLastRetryAndPassed(t *testing.T) {
	cfg, producer := broker(t)
	produce(t, producer, record(1))
	var posts atomic.Int64
	s := begin(t, Config{Kafka: cfg}, func(context.Context, http.Header, []byte) (int, error) {
		posts.Add(1)
		return 503, nil
	})
	eventually(t, "given up", func() bool { return s.dropped.Load() == 1 })
	s.stop()
	if posts.Load() != 4 || s.retried.Load() != 3 || s.delivered.Load() != 0 {
		t.Errorf("%d posts, %d retried, %d delivered", posts.Load(), s.retried.Load(), s.delivered.Load())
	}
	if sum := committed(t, cfg); sum != 1 {
		t.Errorf("offset %d is committed, want 1", sum)
	}
}

// committed sums the group's offsets.
func committed(t testing.TB, cfg kafka.Config) (sum int64) {
	t.Helper()
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	offsets, err := kadm.NewClient(client).FetchOffsets(context.Background(), "group")
	if err != nil {
		t.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(0, o.At) })
	return sum
}

func TestRestartGoesOnFromTheCommittedOffsets(t *testing.T) {
	cfg, producer := broker(t)
	var seen sync.Map
	var posts atomic.Int64
	post := func(_ context.Context, h http.Header, _ []byte) (int, error) {
		posts.Add(1)
		seen.Store(h.Get("Ce-Id"), true)
		return 204, nil
	}
	for i := range 100 {
		produce(t, producer, record(i))
	}
	first := begin(t, Config{Kafka: cfg}, post)
	eventually(t, "delivered", func() bool { return first.delivered.Load() == 100 })
	first.stop()
	for i := 100; i < 150; i++ {
		produce(t, producer, record(i))
	}
	second := begin(t, Config{Kafka: cfg}, post)
	eventually(t, "delivered", func() bool { return second.delivered.Load() == 50 })
	second.stop()
	if posts.Load() != 150 {
		t.Errorf("%d posts, want 150", posts.Load())
	}
}

func TestWhatIsUnansweredAtTheStopComesAgain(t *testing.T) {
	cfg, producer := broker(t)
	for i := range 10 {
		r := record(i)
		r.Key = []byte("same") // one partition: the offset must wait for id-0
		produce(t, producer, r)
	}
	var others atomic.Int64
	patient := Delivery{Retry: 3, Delay: time.Minute, Timeout: time.Second}
	first := beginWith(t, Config{Kafka: cfg}, patient, func(_ context.Context, h http.Header, _ []byte) (int, error) {
		if h.Get("Ce-Id") == "id-0" {
			return 503, nil
		}
		others.Add(1)
		return 204, nil
	})
	eventually(t, "delivered", func() bool { return others.Load() == 9 })
	first.stop()
	if n := committed(t, cfg); n != 0 {
		t.Errorf("offset %d is committed though the first record is not done", n)
	}
	second := begin(t, Config{Kafka: cfg}, func(context.Context, http.Header, []byte) (int, error) { return 204, nil })
	eventually(t, "delivered again", func() bool { return second.delivered.Load() == 10 })
	second.stop()
	if n := committed(t, cfg); n != 10 {
		t.Errorf("offset %d is committed, want 10", n)
	}
}

func TestNoMoreThanTheLimitIsInFlight(t *testing.T) {
	cfg, producer := broker(t)
	for i := range 60 {
		produce(t, producer, record(i))
	}
	var now, most atomic.Int64
	s := begin(t, Config{Kafka: cfg, InFlight: 7}, func(context.Context, http.Header, []byte) (int, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		return 204, nil
	})
	eventually(t, "delivered", func() bool { return s.delivered.Load() == 60 })
	if most.Load() != 7 {
		t.Errorf("%d were in flight at once, want 7", most.Load())
	}
}

func TestDroppedBellsAreNotPostedButPassed(t *testing.T) {
	cfg, producer := broker(t)
	const n = 400
	for i := range n {
		produce(t, producer, record(i))
	}
	s := begin(t, Config{Kafka: cfg, DropBells: 0.5, Seed: 1}, func(context.Context, http.Header, []byte) (int, error) { return 204, nil })
	eventually(t, "all passed", func() bool { return s.delivered.Load()+s.droppedBells.Load() == n })
	s.stop()
	if m := s.droppedBells.Load(); m < n/4 || m > 3*n/4 {
		t.Errorf("%d of %d bells are dropped, want about half", m, n)
	}
	if got := committed(t, cfg); got != n {
		t.Errorf("offset %d is committed, want %d", got, n)
	}
}

// latest is a source that begins behind what is there when it is made.
var latest = Source{Name: "src", Function: "fn", Topic: topic, Group: "group", Latest: true, Delivery: quick}

func TestSourceMadeAnewRingsForNothingOld(t *testing.T) {
	cfg, producer := broker(t)
	const kept = 14_000
	for i := range kept {
		producer.Produce(t.Context(), record(i), nil)
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var first atomic.Value
	s := beginSource(t, Config{Kafka: cfg, Topology: &Topology{Namespace: "ns"}}, latest, func(_ context.Context, h http.Header, _ []byte) (int, error) {
		first.CompareAndSwap(nil, h.Get("Ce-Id"))
		return 204, nil
	})
	produce(t, producer, record(kept))
	eventually(t, "delivered", func() bool { return s.delivered.Load() > 0 })
	s.stop()
	if first.Load() != fmt.Sprintf("id-%d", kept) || s.delivered.Load() != 1 {
		t.Errorf("%d were delivered, %v first, want the one new record", s.delivered.Load(), first.Load())
	}
}

// What is written while the source is away is delivered: the group has had its
// offsets from the beginning.
func TestSourceDeliversWhatWasWrittenSinceItWasMade(t *testing.T) {
	cfg, producer := broker(t)
	produce(t, producer, record(0))
	answer := func(context.Context, http.Header, []byte) (int, error) { return 204, nil }
	beginSource(t, Config{Kafka: cfg, Topology: &Topology{Namespace: "ns"}}, latest, answer).stop()
	for i := range 30 {
		produce(t, producer, record(i+1))
	}
	s := beginSource(t, Config{Kafka: cfg, Topology: &Topology{Namespace: "ns"}}, latest, answer)
	eventually(t, "delivered", func() bool { return s.delivered.Load() == 30 })
}

func TestSourceBeginsAtATopicThatWasJustMade(t *testing.T) {
	b, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cfg := Config{Kafka: kafka.Config{Brokers: b.ListenAddrs()}, Topology: &Topology{Namespace: "ns"}}.withDefaults()
	client, err := kgo.NewClient(cfg.Kafka.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if have, err := admin.ListTopics(t.Context(), topic); err != nil || have[topic].Err == nil { // the client remembers that there is none
		t.Fatalf("%v, %v", have, err)
	}
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	s := newSource(latest, cfg, rand.New(rand.NewPCG(0, 0)), func(context.Context, http.Header, []byte) (int, error) { return 204, nil })
	if err := s.start(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	s.stop()
}

// A Kafka that has just started makes the topic of the groups' offsets when it is
// first asked for a coordinator, and has none until then.
func TestSourceWaitsForItsGroupsCoordinator(t *testing.T) {
	b, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	refusals := 0
	b.ControlKey(int16(kmsg.OffsetFetch), func(q kmsg.Request) (kmsg.Response, error, bool) {
		if refusals == 25 { // more than the client asks again by itself
			return nil, nil, false
		}
		refusals++
		b.KeepControl()
		refused := q.ResponseKind().(*kmsg.OffsetFetchResponse)
		refused.ErrorCode = kerr.CoordinatorNotAvailable.Code
		for _, g := range q.(*kmsg.OffsetFetchRequest).Groups {
			refused.Groups = append(refused.Groups, kmsg.OffsetFetchResponseGroup{Group: g.Group, ErrorCode: refused.ErrorCode})
		}
		return refused, nil, true
	})
	cfg := Config{Kafka: kafka.Config{Brokers: b.ListenAddrs()}, Topology: &Topology{Namespace: "ns"}}.withDefaults()
	client, err := kgo.NewClient(append(cfg.Kafka.Options(), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := newSource(latest, cfg, rand.New(rand.NewPCG(0, 0)), func(context.Context, http.Header, []byte) (int, error) { return 204, nil })
	if err := s.start(t.Context(), kadm.NewClient(client)); err != nil {
		t.Fatalf("after %d refusals: %v", refusals, err)
	}
	s.stop()
	if refusals != 25 {
		t.Errorf("refused %d times", refusals)
	}
}

func TestSourcePostsNoFasterThanItsRate(t *testing.T) {
	cfg, producer := broker(t)
	for i := range 60 {
		produce(t, producer, record(i))
	}
	began := time.Now()
	s := begin(t, Config{Kafka: cfg, Rate: 100}, func(context.Context, http.Header, []byte) (int, error) { return 204, nil })
	eventually(t, "delivered", func() bool { return s.delivered.Load() == 60 })
	if took := time.Since(began); took < 590*time.Millisecond {
		t.Errorf("60 records at 100 a second in %s", took)
	}
}

func TestAbortedRecordsAreNotPostedAndMarkersArePassed(t *testing.T) {
	cfg, _ := broker(t)
	producer, err := kgo.NewClient(append(cfg.Options(), kgo.TransactionalID("tx"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, producer, record(i))
		if err := producer.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	var ids sync.Map
	s := begin(t, Config{Kafka: cfg}, func(_ context.Context, h http.Header, _ []byte) (int, error) {
		ids.Store(h.Get("Ce-Id"), true)
		return 204, nil
	})
	// two records and two markers
	eventually(t, "passed", func() bool { return s.progress.positions()[0] == 4 })
	if _, aborted := ids.Load("id-0"); aborted || s.delivered.Load() != 1 {
		t.Errorf("%d delivered, aborted one too: %v", s.delivered.Load(), aborted)
	}
}
