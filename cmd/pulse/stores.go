package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// coldConfig loads the location of the cold store without the rest of a sink's
// configuration.
type coldConfig struct {
	Location sinkiceberg.Location
}

// Validate finds no fault: opening the catalog does.
func (coldConfig) Validate(context.Context) *apis.FieldError { return nil }

// stores are what an audit reads.
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

// snapshot is what the pipeline held at one time: how far each stage was, and where
// the topics ended after that. A reader of it leaves out whatever came later.
type snapshot struct {
	ends      kafka.Offsets
	raw, cold *sinkiceberg.Snapshot
	hot       []kafka.Mark     // of processed observations
	lag       map[string]int64 // by function: records that it had not stored
}

// atRest says whether no stage had work left, so that all stores must hold the
// same.
func (s *snapshot) atRest() bool { return len(s.lag) == 0 }

// takeSnapshot reads how far every stage is before the ends that it is compared
// with: a stage that has then reached its topic's end had reached it all the time.
func (s *stores) takeSnapshot(ctx context.Context) (*snapshot, error) {
	out := &snapshot{lag: map[string]int64{}}
	type progress struct {
		function, topic string
		next            map[int32]int64
	}
	var all []progress
	committed, err := kafka.Committed(ctx, s.kafka, aggregate.Group, event.TopicBaseRepos)
	if err != nil {
		return nil, fmt.Errorf("aggregate: %w", err)
	}
	done := map[int32]int64{}
	for p, next := range committed {
		done[p.Number] = next
	}
	all = append(all, progress{"aggregate", event.TopicBaseRepos, done})
	for _, source := range []struct {
		table, topic string
		keep         **sinkiceberg.Snapshot
	}{{sinkiceberg.TableBase, event.TopicBaseRepos, &out.raw}, {sinkiceberg.TableProcessed, event.TopicProcessedRepos, &out.cold}, {sinkiceberg.TableSweeps, event.TopicSweeps, new(*sinkiceberg.Snapshot)}} {
		if *source.keep, err = sinkiceberg.LoadSnapshot(ctx, s.cold, source.table); err != nil {
			return nil, fmt.Errorf("sink-iceberg: %w", err)
		}
		next, err := (*source.keep).Marks()
		if err != nil {
			return nil, fmt.Errorf("sink-iceberg: %w", err)
		}
		all = append(all, progress{"sink-iceberg", source.topic, next})
	}
	for _, topic := range []string{event.TopicProcessedRepos, event.TopicSweeps} {
		marks, err := sinkclickhouse.Marks(ctx, s.hot, topic)
		if err != nil {
			return nil, fmt.Errorf("sink-clickhouse: %w", err)
		}
		if topic == event.TopicProcessedRepos {
			out.hot = marks
		}
		next := map[int32]int64{}
		for _, m := range marks {
			next[m.Partition] = m.Next
		}
		all = append(all, progress{"sink-clickhouse", topic, next})
	}
	// The ledger says what was seen, so its end is read before those of the
	// observations.
	ledger, err := kafka.Ends(ctx, s.kafka, event.TopicSweeps)
	if err != nil {
		return nil, err
	}
	if out.ends, err = kafka.Ends(ctx, s.kafka, event.TopicBaseRepos, event.TopicProcessedRepos); err != nil {
		return nil, err
	}
	maps.Copy(out.ends, ledger)
	starts, err := kafka.Starts(ctx, s.kafka, event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSweeps)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		done, ends := kafka.Offsets{}, maps.Clone(out.ends)
		maps.DeleteFunc(ends, func(p kafka.Partition, _ int64) bool { return p.Topic != a.topic })
		for n, next := range a.next {
			done[kafka.Partition{Topic: a.topic, Number: n}] = next
		}
		if left := done.Behind(starts, ends); left > 0 {
			out.lag[a.function] += left
		}
	}
	return out, nil
}

// behind counts, by function, the records that a stage has not stored yet.
func (s *stores) behind(ctx context.Context) (map[string]int64, error) {
	at, err := s.takeSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	return at.lag, nil
}

// wakeAfter is how long a stage may be behind before it is woken: a bell may
// have been lost, and its own wake is minutes away.
const wakeAfter = 3 * time.Second

// waitAtRest waits until replays have ended and no stage is behind, and returns
// what the pipeline held then.
func (s *stores) waitAtRest(ctx context.Context, home stack.Home, control *stack.Control) (*snapshot, error) {
	wake := time.Now().Add(wakeAfter)
	for {
		replays, err := home.Replays()
		if err != nil {
			return nil, err
		}
		at, err := s.takeSnapshot(ctx)
		if err == nil && replays == 0 && at.atRest() {
			return at, nil
		}
		if err == nil && replays == 0 && time.Now().After(wake) {
			for f := range at.lag {
				// A failed wake is repeated as long as there is a lag.
				_ = control.Wake(ctx, f)
			}
			wake = time.Now().Add(wakeAfter)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			var lag map[string]int64
			if at != nil {
				lag = at.lag
			}
			return nil, errors.Join(fmt.Errorf("wait for the pipeline to be at rest: %d replays are running, records left: %v", replays, lag), err)
		}
	}
}
