package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// KafkaOf is how to reach Kafka, and the codec of its records.
func KafkaOf(ctx context.Context, env map[string]string) (kafka.Config, *event.Codec, error) {
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return kafka.Config{}, nil, err
	}
	codec, err := event.NewCodec(env["SCHEMA_REGISTRY_URL"])
	return cfg, codec, err
}

// Announce writes signals to Kafka and returns once they are acknowledged. It needs
// Kafka and the schema registry alone.
func Announce(ctx context.Context, env map[string]string, signals []*event.Signal) error {
	if len(signals) == 0 {
		return nil
	}
	cfg, codec, err := KafkaOf(ctx, env)
	if err != nil {
		return err
	}
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		return fmt.Errorf("publish %d signals: %w", len(signals), err)
	}
	defer producer.Close()
	records := make([]*kgo.Record, len(signals))
	for i, s := range signals {
		if records[i], err = codec.Record(ctx, s, false); err != nil {
			return fmt.Errorf("encode signal %s: %w", s.ID, err)
		}
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("publish %d signals: %w", len(signals), err)
	}
	return nil
}

// Lag is what of a topic a function has not stored.
type Lag struct {
	Function, Topic string
	Records         int64
	Oldest          time.Time // when the oldest of them was written; zero if there is none
}

// Lags are those of each function and topic that it reads, in the order of the stages.
func (p *Pipeline) Lags(ctx context.Context) (all []Lag, err error) {
	for _, s := range p.stages {
		progress, err := s.Look(ctx)
		if err != nil {
			return nil, err
		}
		for topic, next := range progress.Next {
			lag := Lag{Function: progress.Function, Topic: topic}
			ends, err := kafka.Ends(ctx, p.Log.Kafka, topic)
			if err != nil {
				return nil, err
			}
			starts, err := kafka.Starts(ctx, p.Log.Kafka, topic)
			if err != nil {
				return nil, err
			}
			for partition, end := range ends {
				from := max(next[partition.Number], starts[partition])
				if from >= end {
					continue
				}
				lag.Records += end - from
				err := kafka.ReadRange(ctx, p.Log.Kafka, partition, from, from+1, func(records []*kgo.Record, _ int64) error {
					for _, r := range records {
						if lag.Oldest.IsZero() || r.Timestamp.Before(lag.Oldest) {
							lag.Oldest = r.Timestamp
						}
					}
					return nil
				})
				if err != nil {
					return nil, fmt.Errorf("read the oldest record of %s that waits: %w", topic, err)
				}
			}
			all = append(all, lag)
		}
	}
	return all, nil
}
