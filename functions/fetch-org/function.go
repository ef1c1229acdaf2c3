// Package fetchorg reads the counters of every public repository of the listed
// owners from GitHub's GraphQL API into Kafka, and keeps a ledger of how complete
// each sweep was.
//
// A tick requests one sweep of each owner, through Kafka. What has been read of an
// owner, and what remains, is in its checkpoint in Redis; a request only makes a
// handler look there. So a request may come twice, late or never.
package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// perToken is how many owners are fetched at once for each token. GitHub allows
// only one second of its own work per second, which one page uses up: the other
// owner's next question is prepared meanwhile.
const perToken = 2

// New returns the function for func-go and the local runner.
func New() *serve.Instance { return serve.New("fetch-org", open) }

func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	s, err := newSweeper(ctx, environ)
	if err != nil {
		return nil, err // a nil *sweeper would be a Function that is not nil
	}
	return s, nil
}

// sweeper is the function.
type sweeper struct {
	roster   roster // as configured
	period   time.Duration
	maxAge   time.Duration // of a sweep that is continued
	codec    *event.Codec
	producer *kgo.Client
	rdb      redis.UniversalClient
	owners   *Owners
	sweeps   *checkpoints
	cache    *repoCache
	github   *github
	slots    chan struct{} // one for each owner that is being fetched
	clock

	mu      sync.Mutex
	stop    chan struct{}
	stopped bool
	running sync.WaitGroup
}

// newSweeper connects to nothing: each server is called when it is needed first.
func newSweeper(ctx context.Context, environ map[string]string) (*sweeper, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	owners, faults := readRoster(cfg.Owners, cfg.OwnersFile)
	if faults != nil {
		return nil, faults
	}
	codec, err := event.NewWriter(cfg.Registry, kafka.Newest(cfg.Kafka))
	if err != nil {
		return nil, err
	}
	rdb, err := openRedis(string(cfg.Asking.Redis))
	if err != nil {
		return nil, err
	}
	producer, err := kafka.NewProducer(cfg.Kafka)
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	return assemble(cfg, owners, servers{codec, producer, rdb, http.DefaultTransport}), nil
}

// servers are what a sweeper needs.
type servers struct {
	codec    *event.Codec
	producer *kgo.Client
	rdb      redis.UniversalClient
	github   http.RoundTripper
}

func assemble(cfg Config, owners roster, on servers) *sweeper {
	maxAge := 24*time.Hour + cfg.Period
	return &sweeper{
		roster: owners, period: cfg.Period, maxAge: maxAge,
		codec: on.codec, producer: on.producer, rdb: on.rdb,
		owners: &Owners{on.rdb},
		// A checkpoint outlives the sweep's maxAge, so that a late request finds
		// whether all is done.
		sweeps: &checkpoints{rdb: on.rdb, ttl: 2 * maxAge},
		cache:  &repoCache{on.rdb},
		github: newGitHub(cfg.Asking, on.rdb, on.github),
		slots:  make(chan struct{}, perToken*len(cfg.Asking.tokens())),
		clock:  cfg.Asking.clock(),
		stop:   make(chan struct{}),
	}
}

// Receive answers a tick or a request.
//
// It is safe to send it any event any number of times, and at the same time.
// Ticks of one period make one sweep. A request for a sweep that is over, or that
// another handler is at, does nothing; for any other sweep it reads on from the
// checkpoint. The checkpoint moves after Kafka has acknowledged a page, and only
// for the latest holder of the owner's lease.
//
// 2xx means: what was read is in Kafka, and what remains is either requested in
// Kafka or in the index of open sweeps, where the next wake finds it. Without a
// token every event that needs one is refused, to be sent again.
func (s *sweeper) Receive(ctx context.Context, e cloudevents.Event) error {
	if !s.begin() {
		return errors.New("fetch-org is stopping")
	}
	defer s.running.Done()
	switch e.Type() {
	case event.TypeTick:
		return s.tick(ctx, e)
	case event.TypeFetchRequested:
		r, err := s.codec.Requested(ctx, e)
		if err != nil {
			return err
		}
		r.Login = strings.ToLower(r.Login)
		if err := s.check(r); err != nil {
			return err
		}
		return s.fetch(ctx, r)
	}
	return event.Invalid("unsupported event type %q: want a tick or %s", e.Type(), event.TypeFetchRequested)
}

// check refuses a request that could never be served, or would disturb other
// sweeps, which are identified and ordered by their ids.
func (s *sweeper) check(r event.FetchRequested) error {
	if err := checkLogin(r.Login); err != nil {
		return event.Invalid("login: %w", err)
	}
	at, err := time.Parse(time.RFC3339, r.SweepID)
	switch {
	case err != nil || at.UTC().Format(time.RFC3339) != r.SweepID:
		return event.Invalid("invalid sweep_id %q: want a time in UTC such as 2026-01-02T15:00:00Z", r.SweepID)
	case at.After(s.now().Add(s.period)):
		return event.Invalid("sweep_id %s is in the future", r.SweepID)
	}
	return nil
}

// stale says whether a sweep is too old to be continued.
func (s *sweeper) stale(r event.FetchRequested) bool {
	at, err := time.Parse(time.RFC3339, r.SweepID)
	return err != nil || s.now().Sub(at) > s.maxAge
}

// Status says how many owners are being fetched, and whether GitHub refuses every
// token.
func (s *sweeper) Status() serve.Status {
	status := serve.Status{Detail: map[string]int{"fetching": len(s.slots)}}
	switch {
	case len(s.github.tokens.each) == 0:
		status.Failing = errNoToken.Error()
	case s.github.tokens.refused():
		status.Failing = errRefused.Error()
	}
	return status
}

// Close lets each handler finish its page and release its sweep.
func (s *sweeper) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		close(s.stop)
	}
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		s.running.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = fmt.Errorf("stop fetch-org: handlers are still running: %w", ctx.Err())
	}
	s.producer.Close()
	return errors.Join(err, s.rdb.Close())
}

// begin counts a handler, unless the function is stopping.
func (s *sweeper) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.running.Add(1)
	}
	return !s.stopped
}

func (s *sweeper) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}
