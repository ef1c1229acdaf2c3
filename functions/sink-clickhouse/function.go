// Package sinkclickhouse stores processed observations and ledger lines in
// ClickHouse, the hot store, each exactly once.
package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	Kafka      kafka.Config
	Registry   string `env:"SCHEMA_REGISTRY_URL" envDefault:"http://127.0.0.1:8081"`
	Redis      string `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"`
	ClickHouse string `env:"CLICKHOUSE_URL" envDefault:"http://127.0.0.1:8123"`
	// Block is the most records of one insert; Age is how long a block may wait
	// to be filled.
	Block int           `env:"SINK_CLICKHOUSE_BLOCK_RECORDS" envDefault:"50000"`
	Age   time.Duration `env:"SINK_CLICKHOUSE_BLOCK_AGE" envDefault:"200ms"`
	// Share is the part of the partitions that this process in bulk mode drains.
	Share kafka.Share `env:"SHARE"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	errs = errs.Also(c.Kafka.Validate(ctx))
	for name, value := range map[string]string{"SCHEMA_REGISTRY_URL": c.Registry, "REDIS_URL": c.Redis, "CLICKHOUSE_URL": c.ClickHouse} {
		if value == "" {
			errs = errs.Also(apis.ErrMissingField(name))
		}
	}
	if err := redisclient.Validate(c.Redis); c.Redis != "" && err != nil {
		errs = errs.Also(apis.ErrGeneric(err.Error(), "REDIS_URL"))
	}
	if c.Block < 1 || c.Block > 1_000_000 {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.Block, 1, 1_000_000, "SINK_CLICKHOUSE_BLOCK_RECORDS"))
	}
	if c.Age < 0 || c.Age > time.Minute {
		errs = errs.Also(apis.ErrOutOfBoundsValue(c.Age, "0s", "1m", "SINK_CLICKHOUSE_BLOCK_AGE"))
	}
	return errs
}

// blockBytes bounds a block by weight.
const blockBytes = 64 << 20

// Bulk mode waits for full blocks, but not for what does not come. Three of
// them are in memory at once: gathered, prepared, on their way to the store.
// Garbage may gather, in percent of what is held, as long as all is within
// bulkMemory. Rows of unusual weight take more memory, and time to collect it.
//
// The marker, and with it the rows of repositories that replace each other, wait
// for bulkWait records or waitRepositories: one block in memory more, or two.
const (
	bulkBlock  = 25_000
	bulkWait   = 250_000
	bulkGC     = 200
	bulkMemory = 400 << 20
	bulkAge    = 10 * time.Second
	bulkQuiet  = 200 * time.Millisecond

	waitRepositories = 30_000
)

// New returns the function for func-go and the local runner. Any event may be
// sent to it any number of times: what has been stored is known by the markers
// that stand in ClickHouse with the rows.
func New() *serve.Instance { return serve.New(stage, open) }

func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	cfg.Share = kafka.Share{}
	d, err := newDraining(cfg, kafka.Bounds{Records: cfg.Block, Bytes: blockBytes, Age: cfg.Age}, 0)
	if err != nil {
		return nil, err
	}
	d.Drain.Start()
	return d, nil
}

// Drain is bulk mode: it stores all that is in its share of the topics
// when it begins. Several processes may each have a share. It waits for a
// function that is at work to give its leases back, for there is one writer of a
// partition; like the function it may be ended and repeated at any point.
func Drain(ctx context.Context, environ map[string]string) error {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(bulkGC))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(bulkMemory))
	d, err := newDraining(cfg, kafka.Bounds{Records: min(cfg.Block, bulkBlock), Bytes: blockBytes, Age: bulkAge, Quiet: bulkQuiet}, bulkWait)
	if err != nil {
		return err
	}
	return d.DrainAll(ctx)
}

// newDraining returns the drain that the function and bulk mode share.
func newDraining(cfg Config, bounds kafka.Bounds, wait int) (*serve.Draining, error) {
	codec, err := event.NewCodec(cfg.Registry)
	if err != nil {
		return nil, err
	}
	hot, err := newStore(cfg.ClickHouse, answerLimit)
	if err != nil {
		return nil, err
	}
	rdb, err := redisclient.New(cfg.Redis)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("invalid REDIS_URL: %w", err), hot.conn.Close())
	}
	letters, err := kafka.NewDeadLetters(cfg.Kafka, stage)
	if err != nil {
		return nil, errors.Join(err, rdb.Close(), hot.conn.Close())
	}
	w := &writer{redis: rdb, store: hot}
	drain, err := kafka.NewStoreDrain(stage, cfg.Kafka, bounds, cfg.Share, map[string]kafka.Store{
		event.TopicProcessedRepos: &repos{store: hot, writer: w, decoder: kafka.NewDecoder(decode(codec)), letters: letters, wait: wait},
		event.TopicSweeps:         &sweeps{store: hot, writer: w, decoder: kafka.NewDecoder(codec.SweptInto), letters: letters},
	})
	if err != nil {
		letters.Close()
		return nil, errors.Join(err, rdb.Close(), hot.conn.Close())
	}
	return &serve.Draining{
		Drain:  drain,
		Accept: codec.Accept,
		Topics: []string{event.TopicProcessedRepos, event.TopicSweeps},
		Closers: []func() error{
			w.release,
			w.redis.Close,
			func() error { letters.Close(); return nil },
			hot.conn.Close,
		},
	}, nil
}
