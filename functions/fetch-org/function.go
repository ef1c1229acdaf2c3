// Package fetchorg is the function that reads the counters of every public
// repository of the listed owners from GitHub's GraphQL API into Kafka.
//
// A tick requests one sweep of each owner, through Kafka, and a request makes a
// handler do a part of a sweep: package sweep. It asks GitHub by package github.
package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// New returns the function for func-go and the local runner.
func New() *serve.Instance { return serve.New("fetch-org", open) }

type function struct {
	codec    *event.Codec
	producer *kgo.Client
	rdb      redis.UniversalClient
	github   *github.Client
	sweeper  *sweep.Sweeper
}

// open connects to nothing: each server is called when it is needed first.
func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	owners, faults := sweep.ReadRoster(cfg.Owners, cfg.OwnersFile)
	if faults != nil {
		return nil, faults
	}
	codec, err := event.NewWriter(cfg.Registry, kafka.Newest(cfg.Kafka))
	if err != nil {
		return nil, err
	}
	rdb, err := redisclient.New(string(cfg.GitHub.Redis))
	if err != nil {
		return nil, fmt.Errorf("invalid REDIS_URL: %w", err)
	}
	producer, err := kafka.NewProducer(cfg.Kafka)
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	client := github.New(cfg.GitHub, rdb, http.DefaultTransport)
	return &function{
		codec: codec, producer: producer, rdb: rdb, github: client,
		sweeper: sweep.New(owners, cfg.Period, sweep.Servers{Codec: codec, Producer: producer, Redis: rdb, GitHub: client}),
	}, nil
}

// Receive answers a tick or a request.
//
// It is safe to send it any event any number of times, and at the same time: ticks
// of one period make one sweep, and Sweeper.Fetch may be repeated.
//
// 2xx means: what was read is in Kafka, and what remains is either requested in
// Kafka or in the index of open sweeps, where the next wake finds it. Without a
// token every event that needs one is refused, to be sent again.
func (f *function) Receive(ctx context.Context, e cloudevents.Event) error {
	switch e.Type() {
	case event.TypeTick:
		return f.tick(ctx, e)
	case event.TypeFetchRequested:
		r, err := f.codec.Requested(ctx, e)
		if err != nil {
			return err
		}
		return f.sweeper.Fetch(ctx, r)
	}
	return event.Invalid("unsupported event type %q: want a tick or %s", e.Type(), event.TypeFetchRequested)
}

// Status says how many owners are being fetched, and whether GitHub can be asked.
func (f *function) Status() serve.Status {
	status := serve.Status{Detail: map[string]int{"fetching": f.sweeper.Fetching()}, Metrics: f.github.Metrics()}
	if err := f.github.Err(); err != nil {
		status.Failing = err.Error()
	}
	return status
}

// Close lets each handler finish its page and release its sweep.
func (f *function) Close(ctx context.Context) error {
	err := f.sweeper.Stop(ctx)
	f.producer.Close()
	return errors.Join(err, f.rdb.Close())
}
