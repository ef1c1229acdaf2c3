// Package pipeline opens what an installation keeps, by the addresses in its
// environment: Kafka, and the stores of every function that reads from it.
package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/iceberg-go/catalog"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/audit"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Pipeline is an installation's Kafka and stores.
type Pipeline struct {
	Log  audit.Log
	Hot  driver.Conn // for answers that may take an hour
	Cold catalog.Catalog

	stages  []Stage
	closers []func() error
}

// Stage is a function that reads topics, together with what it has stored of them.
type Stage interface {
	// Look says how far the function has come, and fixes what its tables hold.
	Look(ctx context.Context) (Progress, error)
	// Purge deletes what it holds of an owner. It may be repeated.
	Purge(ctx context.Context, o Owner) error
}

// Progress is how far a function had come at one time.
type Progress struct {
	Function string
	Next     map[string]map[int32]int64 // by topic and partition: the first record that was not stored
	Tables   []audit.Table              // that are audited, as they were then
	Events   []audit.KeyedTable         // likewise, of the events of feeds
	Signals  []audit.KeyedTable         // likewise
}

// Open connects to Kafka and both stores.
func Open(ctx context.Context, env map[string]string) (*Pipeline, error) {
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return nil, err
	}
	codec, err := event.NewCodec(env["SCHEMA_REGISTRY_URL"])
	if err != nil {
		return nil, err
	}
	at, err := IcebergLocation(ctx, env)
	if err != nil {
		return nil, err
	}
	purged, err := readPurged(ctx, env)
	if err != nil {
		return nil, err
	}
	hot, err := sinkclickhouse.OpenWhole(env["CLICKHOUSE_URL"])
	if err != nil {
		return nil, err
	}
	cold, closeCold, err := sinkiceberg.Open(ctx, at)
	if err != nil {
		return nil, errors.Join(err, hot.Close())
	}
	return &Pipeline{
		Log: audit.Log{Kafka: cfg, Codec: codec, Purged: purged}, Hot: hot, Cold: cold,
		// What ClickHouse holds of an owner says what to purge elsewhere, so it is
		// purged last: Purge goes from the last to the first.
		stages:  []Stage{clickHouse{hot}, aggregateStage{cfg, env["REDIS_URL"]}, iceberg{cold}},
		closers: []func() error{hot.Close, closeCold},
	}, nil
}

// Close ends the connections.
func (p *Pipeline) Close() error {
	var errs []error
	for _, c := range p.closers {
		if err := c(); err != nil {
			errs = append(errs, fmt.Errorf("close a store: %w", err))
		}
	}
	return errors.Join(errs...)
}

// icebergConfig loads the location of the cold store without the rest of a sink's
// configuration.
type icebergConfig struct {
	Location sinkiceberg.Location
}

// Validate finds no fault: opening the catalog does.
func (icebergConfig) Validate(context.Context) *apis.FieldError { return nil }

// IcebergLocation reads from the environment where the cold store is.
func IcebergLocation(ctx context.Context, env map[string]string) (sinkiceberg.Location, error) {
	c, err := serve.Load[icebergConfig](ctx, env)
	return c.Location, err
}

func readPurged(ctx context.Context, env map[string]string) (audit.Purged, error) {
	list, err := sweep.OpenOwners(env["REDIS_URL"])
	if err != nil {
		return nil, err
	}
	defer list.Close()
	return list.Purged(ctx)
}
