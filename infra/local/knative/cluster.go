package knative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Config is what the manifests leave to the place where they run. A zero value
// means the default that is named.
type Config struct {
	Topology *Topology
	Kafka    kafka.Config
	// Command is the argv that runs a function, as `pulse function <name>`.
	Command func(function string) []string
	// Env replaces values of the ConfigMap and of Secrets, by key: the
	// addresses of the local stack.
	Env map[string]string
	// FunctionEnv is added to the environment of one function.
	FunctionEnv map[string]map[string]string
	// Ingress is the host:port of the ingress of a real cluster. If it is set, the
	// functions and ticks run there, and here only the topics and the sources, which
	// post to it by the functions' names in that cluster.
	Ingress string
	// Ports are those of the functions' addresses; a free one where none is given.
	Ports map[string]int
	// LogDir takes <function>.log; without it the functions' output is discarded.
	LogDir string

	IdleAfter    time.Duration // 60 s: a function without a request is stopped
	StartTimeout time.Duration // 60 s: by then a function must be ready
	CommitEvery  time.Duration // 5 s: how often sources commit their offsets
	InFlight     int           // 50: unanswered POSTs of one source
	// Rate is how many records a second one source posts at most; 0: as many as
	// are taken. The real dispatcher posts 140 to 210 on a node of two cores.
	Rate float64

	// DropBells is the share of records, 0 to 1, that sources do not post but
	// pretend to have posted, chosen by Seed. For tests: nothing may depend on a
	// single bell.
	DropBells float64
	Seed      uint64
}

func (c Config) withDefaults() Config {
	orElse := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	orElse(&c.IdleAfter, time.Minute)
	orElse(&c.StartTimeout, time.Minute)
	orElse(&c.CommitEvery, 5*time.Second)
	if c.InFlight == 0 {
		c.InFlight = 50
	}
	return c
}

// Cluster runs the functions and the sources of a topology.
type Cluster struct {
	cfg       Config
	client    *kgo.Client // for topics and offsets
	admin     *kadm.Client
	functions map[string]*function
	ingresses []*ingress
	sources   []*source
	pingers   []*pinger
	running   sync.WaitGroup // pingers and their events
	cancel    context.CancelFunc
}

// New prepares a cluster. Start runs it.
func New(cfg Config) (*Cluster, error) {
	cfg = cfg.withDefaults()
	client, err := kgo.NewClient(cfg.Kafka.Options()...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	c := &Cluster{cfg: cfg, client: client, admin: kadm.NewClient(client), functions: map[string]*function{}}
	transport := newTransport()
	if cfg.Ingress == "" {
		for _, f := range cfg.Topology.Functions {
			c.functions[f.Name] = newFunction(f, cfg, transport)
		}
		for _, t := range cfg.Topology.Ticks {
			c.pingers = append(c.pingers, &pinger{tick: t, namespace: cfg.Topology.Namespace, post: c.functions[t.Function].post})
		}
	}
	for i, s := range cfg.Topology.Sources {
		random := rand.New(rand.NewPCG(cfg.Seed, uint64(i)))
		post := postVia(cfg, transport, s.Function)
		if f := c.functions[s.Function]; f != nil {
			post = f.post
		}
		c.sources = append(c.sources, newSource(s, cfg, random, post))
	}
	return c, nil
}

// newTransport is one pool of connections for all posts to functions. A
// function closes a connection that was idle for 30 s; the pool must be first,
// or a post would meet a closing one.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 512,
		IdleConnTimeout:     10 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     8 << 10,
	}
}

// Start makes the topics that are missing, opens the functions' addresses and
// lets the sources run. No function is started before it is needed.
func (c *Cluster) Start(ctx context.Context) error {
	if err := c.applyTopics(ctx); err != nil {
		return err
	}
	for name, f := range c.functions {
		in, err := listen(f, c.cfg.Ports[name])
		if err != nil {
			return c.undoStart(err)
		}
		c.ingresses = append(c.ingresses, in)
	}
	for _, f := range c.functions {
		f.start()
	}
	for _, s := range c.sources {
		if err := s.start(ctx, c.admin); err != nil {
			return c.undoStart(err)
		}
	}
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for _, p := range c.pingers {
		c.running.Go(func() { p.run(run) })
	}
	return nil
}

// undoStart stops what a failed start has begun.
func (c *Cluster) undoStart(err error) error {
	return errors.Join(err, c.Stop(context.Background()))
}

// Stop ends the sources, which commit what they delivered, then the functions,
// which get SIGTERM and 30 s, or SIGKILL when ctx ends: an error says so. It
// takes 45 s at most, and mostly well under one. A stopped cluster cannot be
// started again.
func (c *Cluster) Stop(ctx context.Context) error {
	if c.cancel != nil {
		c.cancel()
	}
	var all sync.WaitGroup
	for _, s := range c.sources {
		all.Go(s.stop)
	}
	for _, in := range c.ingresses {
		all.Go(in.close)
	}
	all.Wait()
	c.running.Wait()
	killed := make(chan error, len(c.functions))
	for _, f := range c.functions {
		all.Go(func() { killed <- f.stop(ctx) })
	}
	all.Wait()
	close(killed)
	var err error
	for e := range killed {
		err = errors.Join(err, e)
	}
	c.client.Close()
	return err
}

// URL is the address of a function, or "" before Start and for an unknown one.
func (c *Cluster) URL(function string) string {
	for _, in := range c.ingresses {
		if in.function.name == function {
			return in.url
		}
	}
	return ""
}

// What a tick may ask for.
const (
	doSweep    = "sweep"
	doWake     = "wake"
	doMaintain = "maintain"
)

// Tick sends the function its sweep tick now, and answers when it is accepted.
func (c *Cluster) Tick(ctx context.Context, function string) error {
	return c.ping(ctx, function, doSweep)
}

// Wake sends the function its wake now, and answers when it is accepted.
func (c *Cluster) Wake(ctx context.Context, function string) error {
	return c.ping(ctx, function, doWake)
}

func (c *Cluster) ping(ctx context.Context, function, do string) error {
	for _, p := range c.pingers {
		if p.tick.Function == function && p.tick.do == do {
			return p.fire(ctx, time.Now())
		}
	}
	return fmt.Errorf("no PingSource sends {\"do\":%q} to %q", do, function)
}

// ingress is the stable address of a function that may be at zero.
type ingress struct {
	function *function
	url      string
	server   *http.Server
}

func listen(f *function, port int) (*ingress, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", f.name, err)
	}
	in := &ingress{
		function: f,
		url:      "http://" + l.Addr().String(),
		server:   &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second},
	}
	go func() {
		if err := in.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("listener of a function failed", "function", f.name, "error", err)
		}
	}()
	return in, nil
}

// ingressGrace is how long a request by hand may go on while the cluster stops.
const ingressGrace = 5 * time.Second

func (in *ingress) close() {
	ctx, cancel := context.WithTimeout(context.Background(), ingressGrace)
	defer cancel()
	if in.server.Shutdown(ctx) != nil {
		in.server.Close()
	}
}
