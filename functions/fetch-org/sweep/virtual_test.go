package sweep

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// A cluster is the function's whole surroundings in virtual time: Kafka, Redis,
// GitHub, the sources that post events, and replicas of the function. All of it
// runs in one synctest bubble, over pipes, so that hours pass in moments.
type cluster struct {
	t       *testing.T
	rng     *rand.Rand // under mu
	codec   *event.Codec
	env     map[string]string
	net     kfake.VirtualNetwork
	kafka   *kfake.Cluster
	redis   *miniredis.Miniredis
	github  *emulator.Server
	web     *http.Server
	stop    context.Context // ends with the test
	running sync.WaitGroup  // sources
	posting sync.WaitGroup  // deliveries

	services map[string]*link // kafka, redis, github
	mu       sync.Mutex
	replicas []*replica
	all      []*replica // those that were killed too
	lost     int        // bells that no replica heard
	deaf     float64    // how likely a bell is lost; as likely it rings twice
}

const githubAddress = "localhost:443"

// metCodec returns a codec that has met every schema, so that it needs no
// registry any more. It must be called outside of bubbles.
func metCodec(t *testing.T) *event.Codec {
	t.Helper()
	codec, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

var newCodec = sync.OnceValues(func() (*event.Codec, error) {
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	defer registry.Close()
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		return nil, err
	}
	ctx, at := context.Background(), time.Now()
	request, err := codec.Record(ctx, &event.FetchRequested{SweepID: "s", Login: "l"}, false)
	if err == nil {
		_, err = codec.Requested(ctx, asEvent(request))
	}
	if err != nil {
		return nil, err
	}
	observed, err := codec.Record(ctx, &event.RepoObserved{ID: 1, NameWithOwner: "o/n", Owner: "o", Name: "n", OwnerType: "User", ObservedAt: at, SweepID: "s", Source: "graphql"}, false)
	if err == nil {
		_, err = codec.Observed(ctx, observed)
	}
	if err != nil {
		return nil, err
	}
	swept, err := codec.Record(ctx, &event.OwnerSwept{SweepID: "s", Owner: "o", Status: event.StatusComplete, StartedAt: at, FinishedAt: at}, false)
	if err == nil {
		_, err = codec.Swept(ctx, swept)
	}
	if err != nil {
		return nil, err
	}
	raised := signal.New(signal.OwnerFailed)
	raised.Owner, raised.ObservedAt = "o", at
	reported, err := codec.Record(ctx, raised, false)
	if err == nil {
		_, err = codec.Signal(ctx, reported)
	}
	return codec, err
})

// startCluster starts everything but the function.
func startCluster(t *testing.T, codec *event.Codec, world *emulator.World, rng *rand.Rand, env map[string]string) *cluster {
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(rng.Uint64(), 0)), codec: codec, env: env, services: map[string]*link{"kafka": {}, "redis": {}, "github": {}}, deaf: .05}
	ctx, cancel := context.WithCancel(t.Context())
	c.stop = ctx
	var err error
	c.kafka, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(c.net.Listen),
		kfake.SeedTopics(2, event.TopicFetchRequests, event.TopicBaseRepos, event.TopicSweeps, event.TopicSignals), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	if err != nil {
		t.Fatal(err)
	}
	c.redis = miniredis.NewMiniRedis()
	if c.github, err = emulator.New(world); err != nil {
		t.Fatal(err)
	}
	c.github.SetTiming(emulator.Measured())
	listener, err := c.net.Listen("tcp", githubAddress)
	if err != nil {
		t.Fatal(err)
	}
	c.web = &http.Server{Handler: c.github, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	c.running.Go(func() { _ = c.web.Serve(listener) })
	c.running.Go(func() { // miniredis expires keys only by FastForward
		for c.sleep(time.Second) {
			c.redis.FastForward(time.Second)
		}
	})
	t.Cleanup(func() {
		cancel()
		for _, s := range c.services {
			s.mend()
		}
		for _, r := range c.all {
			r.kill()
		}
		c.posting.Wait()
		for _, r := range c.all {
			r.end()
		}
		_ = c.web.Close()
		c.running.Wait()
		c.redis.Close()
		c.kafka.Close()
		time.Sleep(5 * time.Second) // go-redis looks each second whether it is closed
	})
	return c
}

// sleep lets time pass; false when the test is over.
func (c *cluster) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.stop.Done():
		return false
	}
}

func (c *cluster) dial(service string, r *replica) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !c.services[service].isUp() || !r.link.isUp() {
			return nil, errBroken
		}
		var (
			inner net.Conn
			err   error
		)
		if service == "redis" {
			if inner, err = c.redis.Dial(); err == nil {
				inner = newEager(inner)
			}
		} else {
			inner, err = c.net.DialContext(ctx, network, address)
		}
		if err != nil {
			return nil, err
		}
		conn := &wire{Conn: inner, replica: r, links: []*link{c.services[service], &r.link}, service: service}
		for _, l := range conn.links {
			l.add(conn)
		}
		return conn, nil
	}
}

var errBroken = errors.New("the connection is broken")

// link is the network between two services; each service has one and each
// replica.
type link struct {
	mu    sync.Mutex
	down  bool
	wires map[*wire]bool
	// fray is how likely each message breaks its connection.
	fray float64
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.down
}

func (l *link) add(w *wire) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wires == nil {
		l.wires = map[*wire]bool{}
	}
	l.wires[w] = true
}

// cut breaks every connection, and no new one comes about until it is mended.
func (l *link) cut() {
	l.mu.Lock()
	l.down = true
	wires := l.wires
	l.wires = nil
	l.mu.Unlock()
	for w := range wires {
		_ = w.Conn.Close()
	}
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// wire is a connection of a replica. Each message takes a moment, so that what
// happens at some time can happen between any two messages.
type wire struct {
	net.Conn
	replica *replica
	links   []*link
	service string
}

func (w *wire) Write(p []byte) (int, error) {
	w.replica.message()
	if w.breaks() {
		return 0, errBroken
	}
	return w.Conn.Write(p)
}

// Read loses an answer at times, without the other side's knowledge.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err == nil && w.breaks() {
		return 0, errBroken
	}
	return n, err
}

func (w *wire) breaks() bool {
	time.Sleep(w.replica.draw())
	for _, l := range w.links {
		l.mu.Lock()
		broken := l.down || l.fray > 0 && w.replica.chance(l.fray)
		l.mu.Unlock()
		if broken {
			_ = w.Conn.Close()
			return true
		}
	}
	return false
}

// pipedRedis is a client of a Redis at the other end of a pipe.
func pipedRedis(dial func() (net.Conn, error)) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "localhost:6379", MaintNotificationsConfig: noMaintenance(),
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			conn, err := dial()
			if err != nil {
				return nil, err
			}
			return newEager(conn), nil
		},
	})
}

// noMaintenance is for bubbles: with notifications a mutex is held while a
// connection is made, which stops the bubble's time.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// eager takes in at once all that the other side sends: miniredis holds a lock
// while it answers a script, and a bubble's time stands still while a lock is
// waited for.
type eager struct {
	net.Conn
	come chan struct{} // something has come, or the end

	mu       sync.Mutex
	data     []byte
	err      error
	deadline time.Time
}

func newEager(inner net.Conn) *eager {
	e := &eager{Conn: inner, come: make(chan struct{}, 1)}
	go func() {
		part := make([]byte, 4096)
		for {
			n, err := inner.Read(part)
			e.mu.Lock()
			e.data, e.err = append(e.data, part[:n]...), err
			e.mu.Unlock()
			select {
			case e.come <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return e
}

func (e *eager) Read(p []byte) (int, error) {
	for {
		e.mu.Lock()
		n, err, deadline := copy(p, e.data), e.err, e.deadline
		e.data = e.data[n:]
		e.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		var late <-chan time.Time
		if !deadline.IsZero() {
			late = time.After(time.Until(deadline))
		}
		select {
		case <-e.come:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (e *eager) SetDeadline(t time.Time) error {
	_ = e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *eager) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deadline = t
	return nil
}

// replica is one process of the function.
type replica struct {
	c     *cluster
	link  link
	sweep *Sweeper

	producer *kgo.Client
	rdb      *redis.Client

	ctx    context.Context // its life
	die    context.CancelFunc
	web    *http.Transport
	mu     sync.Mutex
	rng    *rand.Rand
	lives  int // messages until it is killed; negative for never
	killed bool
}

func (r *replica) chance(p float64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.Float64() < p
}

// draw is how long a message takes: most a millisecond or two.
func (r *replica) draw() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(r.rng.ExpFloat64() * float64(time.Millisecond))
}

// message counts down to the replica's end.
func (r *replica) message() {
	r.mu.Lock()
	r.lives--
	end := r.lives == 0
	r.mu.Unlock()
	if end {
		r.kill()
	}
}

// kill ends a replica at once, as kill -9: nothing that it does after reaches
// anyone.
func (r *replica) kill() {
	r.mu.Lock()
	was := r.killed
	r.killed = true
	r.mu.Unlock()
	if was {
		return
	}
	r.link.cut()
	r.die()
	// The client cannot give up a batch of which it does not know whether Kafka
	// has it; a process that is killed can.
	r.c.running.Go(r.producer.Close)
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	for i, other := range r.c.replicas {
		if other == r {
			r.c.replicas = append(r.c.replicas[:i], r.c.replicas[i+1:]...)
			break
		}
	}
}

// end gives a replica's resources back when the test is over.
func (r *replica) end() {
	closing, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = r.sweep.Stop(closing)
	r.producer.Close()
	_ = r.rdb.Close()
	r.web.CloseIdleConnections()
	r.link.cut()
}

// replica returns one that lives, and starts one where there is none, or at
// times a second one.
func (c *cluster) replica() (*replica, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.replicas); n > 0 && (n > 1 || c.rng.IntN(20) > 0) {
		return c.replicas[c.rng.IntN(n)], nil
	}
	cfg, err := serve.Load[github.Config](c.stop, c.env)
	if err != nil {
		return nil, err
	}
	owners, faults := ReadRoster(c.env["OWNERS"], "")
	if faults != nil {
		return nil, faults
	}
	r := &replica{c: c, rng: rand.New(rand.NewPCG(c.rng.Uint64(), 0)), lives: -1}
	r.ctx, r.die = context.WithCancel(c.stop)
	r.web = &http.Transport{DialContext: c.dial("github", r)}
	if r.producer, err = kafka.NewProducer(kafka.Config{Brokers: c.kafka.ListenAddrs()}, kgo.Dialer(c.dial("kafka", r)), kgo.DisableClientMetrics()); err != nil {
		return nil, err
	}
	r.rdb = redis.NewClient(&redis.Options{
		Addr: "localhost:6379", Dialer: c.dial("redis", r),
		MaintNotificationsConfig: noMaintenance(),
	})
	r.sweep = New(owners, time.Hour, Servers{Codec: c.codec, Producer: r.producer, Redis: r.rdb, GitHub: github.New(cfg, r.rdb, r.web)})
	c.replicas, c.all = append(c.replicas, r), append(c.all, r)
	return r, nil
}

// call is what an event has a replica do.
type call func(ctx context.Context, s *Sweeper) error

// post posts an event as a source does: again after a pause while it is
// refused, at last not any more. Some events come twice, some never.
func (c *cluster) post(e call) {
	c.mu.Lock()
	times := 1
	switch draw := c.rng.Float64(); {
	case draw < c.deaf:
		times = 0
		c.lost++
	case draw < 2*c.deaf:
		times = 2
	}
	c.mu.Unlock()
	for range times {
		c.posting.Go(func() {
			pause := 600 * time.Millisecond
			for range 11 {
				err := c.try(e)
				if err == nil || errors.Is(err, event.ErrInvalid) || !c.sleep(pause) {
					return
				}
				pause *= 2
			}
		})
	}
}

func (c *cluster) try(e call) error {
	r, err := c.replica()
	if err != nil {
		c.t.Error(err)
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	err = e(ctx, r.sweep)
	if r.ctx.Err() != nil {
		return errBroken // nobody was there any more to answer
	}
	return err
}

// sweep posts a tick of the present time that asks for sweeps.
func (c *cluster) sweep() {
	at := time.Now()
	c.post(func(ctx context.Context, s *Sweeper) error { return s.RequestAll(ctx, at) })
}

// sources run the PingSources, and the KafkaSource of fetch requests.
func (c *cluster) sources() {
	c.running.Go(func() {
		for c.sleep(5 * time.Minute) {
			c.post(func(ctx context.Context, s *Sweeper) error { return s.RequestOpen(ctx) })
		}
	})
	c.running.Go(func() {
		client := c.consumer(event.TopicFetchRequests)
		defer client.Close()
		for {
			fetches := client.PollFetches(c.stop)
			if c.stop.Err() != nil {
				return
			}
			fetches.EachRecord(func(r *kgo.Record) {
				c.post(func(ctx context.Context, s *Sweeper) error {
					request, err := c.codec.Requested(ctx, asEvent(r))
					if err != nil {
						return err
					}
					return s.Fetch(ctx, request)
				})
			})
		}
	})
}

// consumer reads a topic over a connection that nothing breaks.
func (c *cluster) consumer(topic string) *kgo.Client {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.kafka.ListenAddrs()...), kgo.Dialer(c.net.DialContext), kgo.DisableClientMetrics(), kgo.FetchMaxWait(30*time.Second),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// records reads a topic from its start to its end.
func (c *cluster) records(topic string) []*kgo.Record {
	client := c.consumer(topic)
	defer client.Close()
	var all []*kgo.Record
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		fetches := client.PollFetches(ctx)
		waited := ctx.Err() != nil
		cancel()
		if fetches.NumRecords() == 0 && waited { // not if an error came instead: the client tries again
			return all
		}
		all = append(all, fetches.Records()...)
	}
}
