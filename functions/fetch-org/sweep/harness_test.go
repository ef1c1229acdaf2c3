package sweep

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

const (
	tokenA = "ghp_firstSecret"
	tokenB = "ghp_secondSecret"
)

// reservePoints is how many points of an hour the function leaves a user.
const reservePoints = 50

// world is all that sweeps need, as real servers in this process: in a bubble of
// virtual time, over pipes, or in real time, over sockets.
type world struct {
	t       testing.TB
	net     *kfake.VirtualNetwork // nil in real time
	kafka   *kfake.Cluster
	redis   *miniredis.Miniredis
	github  *emulator.Server
	env     map[string]string
	codec   *event.Codec
	log     *safeBuffer
	request int // fetch requests delivered so far
}

// bubble runs a test in virtual time, from noon on, in a world of its own.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	codec := metCodec(t)
	synctest.Test(t, func(t *testing.T) {
		// A bubble begins in 2000, when GitHub was not there yet.
		time.Sleep(time.Until(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)))
		w := &world{t: t, net: &kfake.VirtualNetwork{}, codec: codec, redis: miniredis.NewMiniRedis()}
		w.env = map[string]string{"KAFKA_BROKERS": "localhost:9092", "GITHUB_GRAPHQL_URL": "http://" + githubAddress}
		// Some of what ended looks only now and then whether it has.
		t.Cleanup(func() { time.Sleep(5 * time.Second) })
		w.open(kfake.Ports(9092), kfake.ListenFn(w.net.Listen))
		listener, err := w.net.Listen("tcp", githubAddress)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: w}
		var running sync.WaitGroup
		running.Go(func() { _ = server.Serve(listener) })
		running.Go(func() { w.expire(t.Context()) })
		t.Cleanup(func() {
			_ = server.Close()
			running.Wait()
			w.redis.Close()
		})
		f(t, w)
	})
}

// bubbled is a subtest in a bubble.
func bubbled(t *testing.T, name string, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { bubble(t, f) })
}

// expire has Redis keep the time, which miniredis does not by itself.
func (w *world) expire(ctx context.Context) {
	const every = 5 * time.Second
	for {
		select {
		case <-time.After(every):
			w.redis.FastForward(every)
		case <-ctx.Done():
			return
		}
	}
}

// newWorld is a world in real time, for functions in processes of their own.
func newWorld(t testing.TB) *world {
	t.Helper()
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, codec: codec, redis: miniredis.RunT(t)}
	w.env = map[string]string{"SCHEMA_REGISTRY_URL": registry.URL, "REDIS_URL": "redis://" + w.redis.Addr()}
	w.open()
	w.env["KAFKA_BROKERS"] = strings.Join(w.kafka.ListenAddrs(), ",")
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.env["GITHUB_GRAPHQL_URL"] = server.URL
	return w
}

// open starts Kafka and GitHub, and has the log kept.
func (w *world) open(options ...kfake.Opt) {
	w.t.Helper()
	var err error
	w.kafka, err = kfake.NewCluster(append(options, kfake.NumBrokers(1),
		kfake.SeedTopics(2, event.TopicFetchRequests, event.TopicBaseRepos, event.TopicSweeps, event.TopicSignals), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.kafka.Close)
	w.serve(emulator.NewWorld(), tokenA, tokenB)
	w.env["GITHUB_TOKEN"], w.env["OWNERS"], w.env["PAGE_SIZE"] = tokenA, "meta=acme, jane", "2"
	w.log = &safeBuffer{}
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(w.log, nil)))
	w.t.Cleanup(func() { slog.SetDefault(was) })
}

// serve has GitHub show a world.
func (w *world) serve(g *emulator.World, tokens ...string) {
	w.t.Helper()
	github, err := emulator.New(g, tokens...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.github = github
}

// ServeHTTP is GitHub's address.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.github.ServeHTTP(rw, r) }

// start starts a Sweeper, as one replica of the function has it.
func (w *world) start() *Sweeper {
	w.t.Helper()
	cfg, err := serve.Load[github.Config](w.t.Context(), w.env)
	if err != nil {
		w.t.Fatal(err)
	}
	owners, faults := ReadRoster(w.env["OWNERS"], "")
	if faults != nil {
		w.t.Fatal(faults)
	}
	var rdb redis.UniversalClient
	web := &http.Transport{}
	if w.net == nil {
		rdb, err = redisclient.New(string(cfg.Redis))
	} else {
		web.DialContext = w.net.DialContext
		rdb = pipedRedis(w.redis.Dial)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	producer, err := kafka.NewProducer(kafka.Config{Brokers: w.kafka.ListenAddrs()}, w.dialer()...)
	if err != nil {
		w.t.Fatal(err)
	}
	s := New(owners, time.Hour, Servers{Codec: w.codec, Producer: producer, Redis: rdb, GitHub: github.New(cfg, rdb, web)})
	w.t.Cleanup(func() {
		_ = s.Stop(context.Background())
		producer.Close()
		_ = rdb.Close()
		web.CloseIdleConnections()
	})
	return s
}

// dialer is how clients of Kafka reach it. In virtual hours they would do little
// but push metrics.
func (w *world) dialer() []kgo.Opt {
	if w.net == nil {
		return nil
	}
	return []kgo.Opt{kgo.Dialer(w.net.DialContext), kgo.DisableClientMetrics()}
}

// list opens the list of owners.
func (w *world) list() *Owners {
	list := &Owners{pipedRedis(w.redis.Dial)}
	w.t.Cleanup(func() { _ = list.Close() })
	return list
}

func (w *world) sweepID() string { return time.Now().UTC().Truncate(time.Hour).Format(time.RFC3339) }

// tick has a tick of the present time do its work.
func (w *world) tick(s *Sweeper, do string) {
	w.t.Helper()
	var err error
	if do == "sweep" {
		err = s.RequestAll(w.t.Context(), time.Now())
	} else {
		err = s.RequestOpen(w.t.Context())
	}
	if err != nil {
		w.t.Fatalf("tick %s: %v", do, err)
	}
}

func (w *world) requested(login, sweep string) event.FetchRequested {
	return event.FetchRequested{SweepID: sweep, Login: login}
}

// deliver passes on what has been requested in Kafka, as a KafkaSource does, until
// nothing new is requested.
func (w *world) deliver(s *Sweeper) {
	w.t.Helper()
	for {
		records := w.records(event.TopicFetchRequests)
		if w.request == len(records) {
			return
		}
		for _, r := range records[w.request:] {
			w.request++
			request, err := w.codec.Requested(w.t.Context(), asEvent(r))
			if err == nil {
				err = s.Fetch(w.t.Context(), request)
			}
			if err != nil {
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
	client, err := kgo.NewClient(append(w.dialer(), kgo.SeedBrokers(w.kafka.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
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

func (w *world) checkpoint(s *Sweeper, login, sweep string) *checkpoint {
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
