// Package aggregate turns observations into velocities. The history of each
// repository is in Redis and can be rebuilt from Kafka; what a process keeps of it
// in memory is only a cache (cache.go), dropped whenever another process has been at
// work.
package aggregate

import (
	"context"
	"errors"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	Kafka    kafka.Config
	Registry string `env:"SCHEMA_REGISTRY_URL" envDefault:"http://127.0.0.1:8081"`
	Redis    string `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"`
	// Member is this process's fixed place in the consumer group. Where several
	// processes share the work, each needs another, or "dynamic" for one of its
	// own that lasts as long as the process.
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
	errs = errs.Also(c.Kafka.Validate(ctx))
	if c.Registry == "" {
		errs = errs.Also(apis.ErrMissingField("SCHEMA_REGISTRY_URL"))
	}
	if c.Redis == "" {
		errs = errs.Also(apis.ErrMissingField("REDIS_URL"))
	} else if err := redisclient.Validate(c.Redis); err != nil {
		errs = errs.Also(apis.ErrGeneric(err.Error(), "REDIS_URL"))
	}
	if c.Block < 1 || c.Block > 100_000 {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.Block, 1, 100_000, "AGGREGATE_BLOCK_RECORDS"))
	}
	if c.BulkBlock < 1 || c.BulkBlock > 1_000_000 {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.BulkBlock, 1, 1_000_000, "AGGREGATE_BULK_BLOCK_RECORDS"))
	}
	if c.BulkUnsaved < 0 || c.BulkUnsaved > 10_000_000 {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.BulkUnsaved, 0, 10_000_000, "AGGREGATE_BULK_UNSAVED_RECORDS"))
	}
	return errs
}

// Group is the consumer group whose offsets are the function's progress.
const Group = "m7pulse-aggregate"

// dynamic asks for a place in the group that lasts as long as the process.
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
	drain, err := kafka.NewTransactDrain("aggregate", cfg.Kafka, bounds, event.TopicBaseRepos, place, engine.transform, event.TopicProcessedRepos)
	if err != nil {
		return nil, nil, errors.Join(err, store.redis.Close())
	}
	return drain, engine, nil
}
