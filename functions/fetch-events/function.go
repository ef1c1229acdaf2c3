// Package fetchevents is the function that reads the feeds of public events of the
// listed owners' repositories from GitHub's REST API into Kafka.
//
// A tick has it read what is due, the most overdue first; when a feed is due again is
// learned from how much of GitHub's window was new. How far each feed was read is in
// its checkpoint in Redis, so a tick may come twice, late or never.
package fetchevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/fetch-events/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/lease"
	"github.com/m7pulse/m7pulse/shared/quota"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

const (
	// No feed is begun after readFor. A handler has 20 s.
	readFor = 12 * time.Second
	// atOnce is how many feeds are read at the same time.
	atOnce   = 8
	lockKey  = "github:pipeline:feeds:lock"
	leaseTTL = 10 * time.Second
)

// New returns the function for func-go and the local runner.
func New() *serve.Instance { return serve.New("fetch-events", open) }

type function struct {
	cfg      Config
	codec    *event.Codec
	producer *kgo.Client
	rdb      redis.UniversalClient
	github   *github.Client
	reader   feed.Reader
	schedule schedule
	now      func() time.Time

	reading  atomic.Int64
	handlers *serve.Handlers
}

// open connects to nothing: each server is called when it is needed first.
func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	return newFunction(cfg, http.DefaultTransport)
}

func newFunction(cfg Config, transport http.RoundTripper) (*function, error) {
	codec, err := event.NewWriter(cfg.Registry, kafka.Newest(cfg.Kafka))
	if err != nil {
		return nil, err
	}
	rdb, err := redisclient.New(string(cfg.Redis))
	if err != nil {
		return nil, fmt.Errorf("invalid REDIS_URL: %w", err)
	}
	producer, err := kafka.NewProducer(cfg.Kafka)
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	return &function{
		cfg: cfg, codec: codec, producer: producer, rdb: rdb, github: github.New(cfg.GitHub, rdb, transport),
		reader: feed.Reader{Bots: feed.NewBots(cfg.bots()...), Source: "rest"}, schedule: schedule{rdb}, now: time.Now,
		handlers: serve.NewHandlers("fetch-events"),
	}, nil
}

// Receive answers a tick: it reads the feeds that are due.
//
// It is safe to send it any tick any number of times, and at the same time: one
// handler of all replicas reads at a time, and a feed's checkpoint moves after Kafka
// has acknowledged what was read.
//
// nil means that nothing is due any more, that another handler is at it, or that
// GitHub's limit is reached: the next tick goes on. While more is due it fails with
// kafka.ErrBehind, to be sent the tick again.
func (f *function) Receive(ctx context.Context, e cloudevents.Event) error {
	if e.Type() != event.TypeTick {
		return event.Invalid("unsupported event type %q: want a tick", e.Type())
	}
	do, err := serve.Tick(e)
	if err != nil {
		return err
	}
	if do != "wake" {
		return event.Invalid("unknown action %q of a tick: want \"wake\"", do)
	}
	end, err := f.handlers.Begin()
	if err != nil {
		return err
	}
	defer end()
	return f.readDue(ctx)
}

// readDue reads feeds under the lease until none is due or the time is up.
func (f *function) readDue(ctx context.Context) error {
	began := time.Now()
	held, err := lease.Acquire(ctx, f.rdb, lockKey, leaseTTL)
	var other *lease.Held
	if errors.As(err, &other) {
		return nil
	}
	if err != nil {
		return err
	}
	work, stop := held.Keep(ctx)
	err = f.pass(work, began, held.Token())
	if lost := context.Cause(work); err != nil && errors.Is(lost, lease.ErrLost) {
		err = fmt.Errorf("read the feeds: %w", lost)
	}
	stop()
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if e := held.Release(releasing); e != nil {
		slog.Warn("release the lease of the feeds: it expires by itself", "error", e)
	}
	return err
}

// pass reads batch after batch.
func (f *function) pass(ctx context.Context, began time.Time, token int64) error {
	if err := f.schedule.enrol(ctx, f.now()); err != nil {
		return err
	}
	for {
		feeds, err := f.schedule.due(ctx, f.now())
		if err != nil || len(feeds) == 0 {
			return err
		}
		if f.github.Err() == github.ErrNoToken {
			return github.ErrNoToken
		}
		if time.Since(began) >= readFor {
			return fmt.Errorf("%d feeds or more are due: %w", len(feeds), kafka.ErrBehind)
		}
		if err := f.readAll(ctx, feeds, began, token); err != nil {
			var limit *quota.RateLimitedError
			if errors.As(err, &limit) {
				slog.Info("feeds wait for GitHub's limit", "due", len(feeds), "until", limit.Until)
				return nil
			}
			return err
		}
	}
}

// readAll reads some feeds, in order, atOnce at a time. It ends with the first error
// that is not about one feed alone.
func (f *function) readAll(ctx context.Context, feeds []*due, began time.Time, token int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan *due)
	var workers sync.WaitGroup
	for range min(atOnce, len(feeds)) {
		workers.Go(func() {
			for d := range queue {
				f.reading.Add(1)
				err := f.read(ctx, d, token)
				f.reading.Add(-1)
				if err != nil && ctx.Err() == nil {
					if err = f.setback(ctx, d, err); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for _, d := range feeds {
		if ctx.Err() != nil || time.Since(began) >= readFor {
			break
		}
		select {
		case queue <- d:
		case <-ctx.Done():
		}
	}
	close(queue)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// setback leaves a feed alone for a while that GitHub did not answer for. Any other
// error concerns all feeds, and is returned.
func (f *function) setback(ctx context.Context, d *due, err error) error {
	if !errors.Is(err, github.ErrNoAnswer) {
		return err
	}
	slog.Warn("GitHub did not answer for a feed", "repository", d.name, "error", err)
	return f.schedule.postpone(ctx, d.id, f.now().Add(failedFor))
}

// Status says how many feeds are being read, and whether GitHub can be asked.
func (f *function) Status() serve.Status {
	status := serve.Status{Detail: map[string]int64{"reading": f.reading.Load()}, Metrics: f.github.Metrics()}
	if err := f.github.Err(); err != nil {
		status.Failing = err.Error()
	}
	return status
}

// Close waits for the handlers, whose requests the host ends, and closes the
// connections.
func (f *function) Close(ctx context.Context) error {
	err := f.handlers.Stop(ctx)
	f.producer.Close()
	return errors.Join(err, f.rdb.Close())
}
