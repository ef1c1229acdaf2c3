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

// Oldest is when the oldest record was written that a function has not stored, and that
// function; "" if nothing waits.
func (p *Pipeline) Oldest(ctx context.Context) (at time.Time, function string, err error) {
	for _, s := range p.stages {
		progress, err := s.Look(ctx)
		if err != nil {
			return at, "", err
		}
		for topic, next := range progress.Next {
			ends, err := kafka.Ends(ctx, p.Log.Kafka, topic)
			if err != nil {
				return at, "", err
			}
			starts, err := kafka.Starts(ctx, p.Log.Kafka, topic)
			if err != nil {
				return at, "", err
			}
			for partition, end := range ends {
				from := max(next[partition.Number], starts[partition])
				if from >= end {
					continue
				}
				err := kafka.ReadRange(ctx, p.Log.Kafka, partition, from, from+1, func(records []*kgo.Record, _ int64) error {
					for _, r := range records {
						if function == "" || r.Timestamp.Before(at) {
							at, function = r.Timestamp, progress.Function
						}
					}
					return nil
				})
				if err != nil {
					return at, "", fmt.Errorf("read the oldest record of %s that waits: %w", topic, err)
				}
			}
		}
	}
	return at, function, nil
}
