// Package sweep reads all public repositories of each listed owner from GitHub into
// Kafka, and keeps a ledger of how complete each sweep was.
//
// What has been read of an owner, and what remains, is in its checkpoint in Redis;
// a request only makes a handler look there. So a request may come twice, late or
// never. The order of a sweep's phases is in phase.go, and each has a file.
package sweep

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// perToken is how many owners are fetched at once for each token. GitHub allows
// only one second of its own work per second, which one page uses up: the other
// owner's next question is prepared meanwhile.
const perToken = 2

// Sweeper sweeps owners. Any number of them, in any processes, may share a Redis.
type Sweeper struct {
	roster   Roster // as configured
	period   time.Duration
	maxAge   time.Duration // of a sweep that is continued
	codec    *event.Codec
	producer *kgo.Client
	rdb      redis.UniversalClient
	owners   *Owners
	sweeps   *checkpoints
	cache    *repoCache
	github   *github.Client
	slots    chan struct{} // one for each owner that is being fetched
	handlers *serve.Handlers
}

// Servers are what a Sweeper needs. It closes none of them.
type Servers struct {
	Codec    *event.Codec
	Producer *kgo.Client
	Redis    redis.UniversalClient
	GitHub   *github.Client
}

// New returns a Sweeper of the owners that are configured, and of those that are
// added to the list in Redis. period is the schedule's: a time cut to it names the
// sweep. A sweep is continued for 24 hours and one period.
func New(configured Roster, period time.Duration, on Servers) *Sweeper {
	maxAge := 24*time.Hour + period
	return &Sweeper{
		roster: configured, period: period, maxAge: maxAge,
		codec: on.Codec, producer: on.Producer, rdb: on.Redis, github: on.GitHub,
		owners: &Owners{on.Redis},
		// A checkpoint outlives the sweep's maxAge, so that a late request finds
		// whether all is done.
		sweeps:   &checkpoints{rdb: on.Redis, ttl: 2 * maxAge},
		cache:    &repoCache{on.Redis},
		slots:    make(chan struct{}, perToken*on.GitHub.Tokens()),
		handlers: serve.NewHandlers("fetch-org"),
	}
}

// Fetching is how many owners are being fetched.
func (s *Sweeper) Fetching() int { return len(s.slots) }

// Stop lets each handler finish its page and release its sweep. From then on
// events are refused.
func (s *Sweeper) Stop(ctx context.Context) error { return s.handlers.Stop(ctx) }

// check refuses a request that could never be served, or would disturb other
// sweeps, which are identified and ordered by their ids.
func (s *Sweeper) check(r event.FetchRequested) error {
	if err := checkLogin(r.Login); err != nil {
		return event.Invalid("login: %w", err)
	}
	at, err := time.Parse(time.RFC3339, r.SweepID)
	switch {
	case err != nil || at.UTC().Format(time.RFC3339) != r.SweepID:
		return event.Invalid("invalid sweep_id %q: want a time in UTC such as 2026-01-02T15:00:00Z", r.SweepID)
	case at.After(time.Now().Add(s.period)):
		return event.Invalid("sweep_id %s is in the future", r.SweepID)
	}
	return nil
}

// stale says whether a sweep is too old to be continued.
func (s *Sweeper) stale(r event.FetchRequested) bool {
	at, err := time.Parse(time.RFC3339, r.SweepID)
	return err != nil || time.Since(at) > s.maxAge
}

// pause waits, but not beyond the end of ctx or until Stop.
func (s *Sweeper) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-s.handlers.Stopping():
	case <-time.After(d):
	}
}
