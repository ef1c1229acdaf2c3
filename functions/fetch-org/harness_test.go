package fetchorg

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

const (
	tokenA = "ghp_firstSecret"
	tokenB = "ghp_secondSecret"
)

// world is all that the function needs, as real servers in this process.
type world struct {
	t       testing.TB
	kafka   *kfake.Cluster
	redis   *miniredis.Miniredis
	github  *emulator.Server
	env     map[string]string
	codec   *event.Codec
	log     *safeBuffer
	mu      sync.Mutex
	clock   func() time.Time
	scale   float64       // of the function's waiting
	offset  time.Duration // of the function's clock and GitHub's from that
	request int           // fetch requests delivered so far
}

func newWorld(t testing.TB) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, event.TopicFetchRequests, event.TopicBaseRepos, event.TopicSweeps), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	github, err := emulator.New(emulator.NewWorld(), tokenA, tokenB)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, kafka: cluster, redis: miniredis.RunT(t), github: github, codec: codec, log: &safeBuffer{}, clock: time.Now, scale: 1}
	w.github.SetClock(w.now)
	server := httptest.NewServer(w.github)
	t.Cleanup(server.Close)
	w.env = map[string]string{
		"KAFKA_BROKERS": strings.Join(cluster.ListenAddrs(), ","), "SCHEMA_REGISTRY_URL": registry.URL,
		"REDIS_URL": "redis://" + w.redis.Addr(), "GITHUB_GRAPHQL_URL": server.URL, "GITHUB_TOKEN": tokenA,
		"OWNERS": "meta=acme, jane", "PAGE_SIZE": "2",
	}
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(w.log, nil)))
	t.Cleanup(func() { slog.SetDefault(was) })
	return w
}

// serve replaces GitHub by one with another world.
func (w *world) serve(g *emulator.World, tokens ...string) {
	w.t.Helper()
	github, err := emulator.New(g, tokens...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.github = github
	w.github.SetClock(w.now)
	server := httptest.NewServer(github)
	w.t.Cleanup(server.Close)
	w.env["GITHUB_GRAPHQL_URL"] = server.URL
}

// start starts the function, one replica of it.
func (w *world) start() *sweeper {
	w.t.Helper()
	s, err := newSweeper(w.t.Context(), w.env)
	if err != nil {
		w.t.Fatal(err)
	}
	c := clock{now: w.now, scale: w.scale}
	s.clock, s.github.clock, s.github.budgets.clock = c, c, c
	w.t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock().Add(w.offset)
}

// hurry lets all clocks run so many times as fast.
func (w *world) hurry(scale float64) {
	w.scale, w.clock = scale, newClock(time.Now(), scale).now
}

// pass lets time go by for the function, GitHub and Redis.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	w.offset += d
	w.mu.Unlock()
	w.redis.FastForward(d)
}

func (w *world) sweepID() string { return w.now().UTC().Truncate(time.Hour).Format(time.RFC3339) }

func (w *world) tick(s *sweeper, do string) {
	w.t.Helper()
	if err := s.Receive(w.t.Context(), w.ticked(do)); err != nil {
		w.t.Fatalf("tick %s: %v", do, err)
	}
}

// ticked is a tick as a PingSource sends it.
func (w *world) ticked(do string) cloudevents.Event {
	w.t.Helper()
	e := cloudevents.NewEvent()
	e.SetID("tick")
	e.SetSource("/test")
	e.SetType(event.TypeTick)
	e.SetTime(w.now())
	if err := e.SetData(event.ContentJSON, map[string]string{"do": do}); err != nil {
		w.t.Fatal(err)
	}
	return e
}

// requested is a fetch request as one posts it by hand.
func (w *world) requested(login, sweep string) cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID("by-hand")
	e.SetSource("/test")
	e.SetType(event.TypeFetchRequested)
	if err := e.SetData(event.ContentJSON, event.FetchRequested{SweepID: sweep, Login: login}); err != nil {
		w.t.Fatal(err)
	}
	return e
}

// deliver passes on what has been asked for in Kafka, as a KafkaSource does,
// until nothing new is asked for.
func (w *world) deliver(s *sweeper) {
	w.t.Helper()
	for {
		records := w.records(event.TopicFetchRequests)
		if w.request == len(records) {
			return
		}
		for _, r := range records[w.request:] {
			w.request++
			if err := s.Receive(w.t.Context(), asEvent(r)); err != nil {
				w.t.Fatalf("deliver %s: %v", event.Header(r, "ce_id"), err)
			}
		}
	}
}

func asEvent(r *kgo.Record) cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID(event.Header(r, "ce_id"))
	e.SetSource(event.Header(r, "ce_source"))
	e.SetType(event.Header(r, "ce_type"))
	_ = e.SetData(event.Header(r, "content-type"), r.Value)
	return e
}

// records reads a topic from its start to its end, in the order of time.
func (w *world) records(topic string) []*kgo.Record {
	w.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(w.t.Context(), topic)
	if err != nil {
		w.t.Fatal(err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	var records []*kgo.Record
	for int64(len(records)) < want {
		fetches := client.PollFetches(w.t.Context())
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	slices.SortStableFunc(records, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
	return records
}

// observed reads all observations, by repository id.
func (w *world) observed() map[int64][]event.RepoObserved {
	w.t.Helper()
	all := map[int64][]event.RepoObserved{}
	for _, r := range w.records(event.TopicBaseRepos) {
		o, err := w.codec.Observed(w.t.Context(), r)
		if err != nil {
			w.t.Fatal(err)
		}
		all[o.ID] = append(all[o.ID], *o)
	}
	return all
}

// ledger reads all ledger lines, by owner, and fails if an owner's sweep has two.
func (w *world) ledger() map[string][]event.OwnerSwept {
	w.t.Helper()
	all, seen := map[string][]event.OwnerSwept{}, map[string]bool{}
	for _, r := range w.records(event.TopicSweeps) {
		line, err := w.codec.Swept(w.t.Context(), r)
		if err != nil {
			w.t.Fatal(err)
		}
		if id := line.SweepID + "/" + line.Owner; seen[id] {
			w.t.Errorf("%s has two ledger lines", id)
		} else {
			seen[id] = true
		}
		all[line.Owner] = append(all[line.Owner], *line)
	}
	return all
}

// line is an owner's only ledger line.
func (w *world) line(owner string) event.OwnerSwept {
	w.t.Helper()
	lines := w.ledger()[owner]
	if len(lines) != 1 {
		w.t.Fatalf("%s has %d ledger lines, want 1", owner, len(lines))
	}
	return lines[0]
}

func (w *world) checkpoint(s *sweeper, login, sweep string) *checkpoint {
	w.t.Helper()
	all, err := s.sweeps.read(w.t.Context(), event.FetchRequested{SweepID: sweep, Login: login})
	if err != nil {
		w.t.Fatal(err)
	}
	if all[0] == nil {
		w.t.Fatalf("no checkpoint of %s in sweep %s", login, sweep)
	}
	return all[0]
}

// pagesAsked counts the queries for pages of an owner.
func (w *world) pagesAsked(login string) (n int) {
	for _, q := range w.github.Requests() {
		if strings.EqualFold(q.Login, login) && (q.Operation == "organization" || q.Operation == "user") {
			n++
		}
	}
	return n
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
