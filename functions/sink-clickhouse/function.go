// Package sinkclickhouse stores processed observations, events of feeds, signals and
// ledger lines
// in ClickHouse, the hot store, each exactly once.
package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/clickhouse"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	serve.Sink
	Redis      string `env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379"`
	ClickHouse string `env:"CLICKHOUSE_URL" envDefault:"http://127.0.0.1:8123"`
	// Block is the most records of one insert; Age is how long a block may wait
	// to be filled.
	Block int           `env:"SINK_CLICKHOUSE_BLOCK_RECORDS" envDefault:"50000"`
	Age   time.Duration `env:"SINK_CLICKHOUSE_BLOCK_AGE" envDefault:"200ms"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	return errs.Also(
		c.Sink.Validate(ctx),
		address.Field("REDIS_URL", c.Redis, redisclient.Validate),
		address.Field("CLICKHOUSE_URL", c.ClickHouse, clickhouse.CheckAddress),
		serve.InRange("SINK_CLICKHOUSE_BLOCK_RECORDS", c.Block, 1, 1_000_000),
		serve.InRange("SINK_CLICKHOUSE_BLOCK_AGE", c.Age, 0, time.Minute),
	)
}

// blockBytes bounds a block by weight.
const blockBytes = 64 << 20

// Bulk mode waits for full blocks, but not for records that do not come. Three blocks
// are in memory at once: gathered, prepared, being stored. Rows of unusual size take
// more memory, and then more time to collect garbage.
//
// The marker, and with it the rows of repositories that replace each other, wait
// for bulkWait records or waitRepositories: one or two more blocks in memory.
const (
	bulkGarbage = 200
	bulkMemory  = 400 << 20
	bulkBlock   = 25_000
	bulkAge     = 10 * time.Second
	bulkQuiet   = 200 * time.Millisecond
	bulkWait    = 250_000

	waitRepositories = 30_000
)

// New returns the function for func-go and the local runner. Any event may be
// sent to it any number of times: what has been stored is known by the markers
// that are in ClickHouse with the rows.
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

// Drain is bulk mode: it stores what is in its share of the topics when it begins.
// Several processes may each have a share. A partition has one writer, so it waits
// until a function that is running releases its leases. It may be stopped at any
// point, and is safe to repeat.
func Drain(ctx context.Context, environ map[string]string, measure serve.Measure) error {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return err
	}
	d, err := newDraining(cfg, kafka.Bounds{Records: min(cfg.Block, bulkBlock), Bytes: blockBytes, Age: bulkAge, Quiet: bulkQuiet}, bulkWait)
	if err != nil {
		return err
	}
	return d.DrainAll(ctx, serve.Memory{Garbage: bulkGarbage, Limit: bulkMemory}, measure)
}

// newDraining returns the drain that the function and bulk mode share.
func newDraining(cfg Config, bounds kafka.Bounds, wait int) (*serve.Draining, error) {
	hot, err := newStore(cfg.ClickHouse, answerLimit)
	if err != nil {
		return nil, err
	}
	rdb, err := redisclient.New(cfg.Redis)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("invalid REDIS_URL: %w", err), hot.conn.Close())
	}
	w := &writer{redis: rdb, store: hot}
	return serve.NewSink(stage, cfg.Sink, bounds, func(codec *event.Codec, letters *kafka.DeadLetters) map[string]kafka.Store {
		return map[string]kafka.Store{
			event.TopicProcessedRepos: &repos{store: hot, writer: w, decoder: kafka.NewDecoder(decode(codec)), letters: letters, wait: wait},
			event.TopicSweeps: &ledger[event.OwnerSwept]{store: hot, writer: w, decoder: kafka.NewDecoder(codec.SweptInto), letters: letters,
				topic: event.TopicSweeps, table: "pulse.sweeps", columns: sweepColumns},
			event.TopicEvents: &events{store: hot, writer: w, decoder: kafka.NewDecoder(codec.GitHubEventInto), letters: letters},
			event.TopicFeedReads: &ledger[event.FeedRead]{store: hot, writer: w, decoder: kafka.NewDecoder(codec.FeedReadInto), letters: letters,
				topic: event.TopicFeedReads, table: "pulse.github_feed_reads", columns: feedReadColumns},
			event.TopicSignals: &ledger[event.Signal]{store: hot, writer: w, decoder: kafka.NewDecoder(codec.SignalInto), letters: letters,
				topic: event.TopicSignals, table: "pulse.github_signals", columns: signalColumns, key: func(s *event.Signal) string { return s.ID }},
		}
	}, w.release, rdb.Close, hot.conn.Close)
}
