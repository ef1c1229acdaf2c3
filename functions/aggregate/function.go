// Package aggregate turns observations into velocities. The history of each
// repository is in Redis and can be rebuilt from Kafka; what a process keeps of it
// in memory is only a cache (cache.go), dropped whenever another process has been at
// work.
package aggregate

import (
	"context"
	"errors"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	serve.Pipeline
	Redis string `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"`
	// Member is this process's fixed name in the consumer group. Of several processes
	// that share the work each needs another, or "dynamic": a random name for as long
	// as the process lasts.
	Member string `env:"AGGREGATE_MEMBER" envDefault:"0"`
	// Block is the most records that go into one Kafka transaction.
	Block int `env:"AGGREGATE_BLOCK_RECORDS" envDefault:"5000"`
	// BulkBlock is the same for bulk mode.
	BulkBlock int `env:"AGGREGATE_BULK_BLOCK_RECORDS" envDefault:"100000"`
	// BulkUnsaved is the number of records after which bulk mode writes the
	// histories of its cache, and the most that are read again after a crash.
	BulkUnsaved int `env:"AGGREGATE_BULK_UNSAVED_RECORDS" envDefault:"1000000"`
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	return errs.Also(
		c.Pipeline.Validate(ctx),
		address.Field("REDIS_URL", c.Redis, redisclient.Validate),
		serve.InRange("AGGREGATE_BLOCK_RECORDS", c.Block, 1, 100_000),
		serve.InRange("AGGREGATE_BULK_BLOCK_RECORDS", c.BulkBlock, 1, 1_000_000),
		serve.InRange("AGGREGATE_BULK_UNSAVED_RECORDS", c.BulkUnsaved, 0, 10_000_000),
	)
}

// Group is the consumer group whose offsets are the function's progress.
const Group = "m7pulse-aggregate"

// dynamic asks for a random name in the group.
const dynamic = "dynamic"

// blockBytes bounds a block by weight.
const blockBytes = 16 << 20

// New returns the function for func-go and the local runner. Any event may be
// sent to it any number of times: what has been computed is known by the
// offsets that were committed together with the results.
func New() *serve.Instance { return serve.New("aggregate", open) }

func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	drain, engine, err := newDrain(cfg, kafka.Bounds{Records: cfg.Block, Bytes: blockBytes}, cacheLimits{})
	if err != nil {
		return nil, err
	}
	drain.Start()
	return &serve.Draining{
		Drain:   drain,
		Accept:  engine.codec.Accept,
		Topics:  []string{event.TopicBaseRepos},
		Closers: []func() error{engine.store.redis.Close},
	}, nil
}

// newDrain returns the drain that the function and bulk mode share.
func newDrain(cfg Config, bounds kafka.Bounds, limits cacheLimits) (*kafka.Drain, *engine, error) {
	codec, err := event.NewWriter(cfg.Registry, kafka.Newest(cfg.Kafka))
	if err != nil {
		return nil, nil, err
	}
	store, err := newHistoryStore(cfg.Redis)
	if err != nil {
		return nil, nil, err
	}
	engine := newEngine(cfg.Kafka, codec, store, limits)
	place := kafka.Group{Name: Group, Member: cfg.Member}
	if cfg.Member == dynamic {
		place.Member = ""
	}
	drain, err := kafka.NewTransactDrain("aggregate", cfg.Kafka, bounds, event.TopicBaseRepos, place, engine.transform, event.TopicProcessedRepos, event.TopicSignals)
	if err != nil {
		return nil, nil, errors.Join(err, store.redis.Close())
	}
	return drain, engine, nil
}
