package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/apache/iceberg-go/catalog"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/audit"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// coldConfig lets the place of the cold store be loaded by itself.
type coldConfig struct {
	Location sinkiceberg.Location
}

// Validate finds no fault: opening the catalog does.
func (coldConfig) Validate(context.Context) *apis.FieldError { return nil }

// stores are the places that an audit asks.
type stores struct {
	kafka   kafka.Config
	codec   *event.Codec
	hot     driver.Conn
	cold    catalog.Catalog
	purged  audit.Purged
	closers []func() error
}

func openStores(ctx context.Context, env map[string]string) (*stores, error) {
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return nil, err
	}
	codec, err := event.NewCodec(env["SCHEMA_REGISTRY_URL"])
	if err != nil {
		return nil, err
	}
	at, err := serve.Load[coldConfig](ctx, env)
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
	cold, closeCold, err := sinkiceberg.Open(ctx, at.Location)
	if err != nil {
		return nil, errors.Join(err, hot.Close())
	}
	return &stores{kafka: cfg, codec: codec, hot: hot, cold: cold, purged: purged, closers: []func() error{hot.Close, closeCold}}, nil
}

func readPurged(ctx context.Context, env map[string]string) (audit.Purged, error) {
	list, err := fetchorg.OpenOwners(env["REDIS_URL"])
	if err != nil {
		return nil, err
	}
	defer list.Close()
	return list.Purged(ctx)
}

func (s *stores) close() {
	for _, c := range s.closers {
		if err := c(); err != nil {
			fmt.Println("close a store:", err)
		}
	}
}

// stage is one step that has offsets of its own.
type stage struct {
	function string
	topic    string
	done     func(context.Context) (map[int32]int64, error)
}

func (s *stores) stages() []stage {
	cold := func(table string) func(context.Context) (map[int32]int64, error) {
		return func(ctx context.Context) (map[int32]int64, error) { return sinkiceberg.Marks(ctx, s.cold, table) }
	}
	hot := func(topic string) func(context.Context) (map[int32]int64, error) {
		return func(ctx context.Context) (map[int32]int64, error) { return sinkclickhouse.Marks(ctx, s.hot, topic) }
	}
	return []stage{
		{"aggregate", event.TopicBaseRepos, func(ctx context.Context) (map[int32]int64, error) {
			committed, err := kafka.Committed(ctx, s.kafka, aggregate.Group, event.TopicBaseRepos)
			done := map[int32]int64{}
			for p, next := range committed {
				done[p.Number] = next
			}
			return done, err
		}},
		{"sink-iceberg", event.TopicBaseRepos, cold(sinkiceberg.TableBase)},
		{"sink-iceberg", event.TopicProcessedRepos, cold(sinkiceberg.TableProcessed)},
		{"sink-iceberg", event.TopicSweeps, cold(sinkiceberg.TableSweeps)},
		{"sink-clickhouse", event.TopicProcessedRepos, hot(event.TopicProcessedRepos)},
		{"sink-clickhouse", event.TopicSweeps, hot(event.TopicSweeps)},
	}
}

// behind counts, by function, the records that a stage has not stored yet. A
// stage's marks are read before the ends it is compared with.
func (s *stores) behind(ctx context.Context) (map[string]int64, error) {
	lag := map[string]int64{}
	for _, st := range s.stages() {
		done, err := st.done(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", st.function, err)
		}
		ends, err := kafka.Ends(ctx, s.kafka, st.topic)
		if err != nil {
			return nil, err
		}
		for p, end := range ends {
			if left := end - done[p.Number]; left > 0 {
				lag[st.function] += left
			}
		}
	}
	return lag, nil
}

// nudgeAfter is how long a stage may be behind before it is woken: a bell may
// have been lost, and its own wake is minutes away.
const nudgeAfter = 3 * time.Second

// settle waits until replays have ended and no stage is behind.
func (s *stores) settle(ctx context.Context, home stack.Home, control *stack.Control) error {
	nudge := time.Now().Add(nudgeAfter)
	for {
		replays, err := home.Replays()
		if err != nil {
			return err
		}
		lag, err := s.behind(ctx)
		if err == nil && replays == 0 && len(lag) == 0 {
			return nil
		}
		if err == nil && replays == 0 && time.Now().After(nudge) {
			for f := range lag {
				// A wake that fails is tried again as long as there is a lag.
				_ = control.Wake(ctx, f)
			}
			nudge = time.Now().Add(nudgeAfter)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("given up waiting: %d replays run, records left %v", replays, lag), err)
		}
	}
}
