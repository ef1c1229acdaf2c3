package backfill

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// ToKafka produces events to their topic, as fetch-events does, and rings for them.
type ToKafka struct {
	codec    *event.Codec
	producer *kgo.Client
	sent     int64 // since the last Flush

	mu     sync.Mutex
	failed error
}

// NewToKafka returns a target. How many events wait to be acknowledged is bounded.
func NewToKafka(cfg kafka.Config, codec *event.Codec) (*ToKafka, error) {
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &ToKafka{codec: codec, producer: producer}, nil
}

// Close gives up what was not flushed.
func (k *ToKafka) Close() { k.producer.Close() }

// Send implements Target.
func (k *ToKafka) Send(ctx context.Context, e *feed.Event) error {
	if err := k.err(); err != nil {
		return err
	}
	r, err := k.codec.Record(ctx, e, false)
	if err != nil {
		return fmt.Errorf("event %s: %w", e.Key(), err)
	}
	k.produce(ctx, r)
	return nil
}

// Note implements Target.
func (k *ToKafka) Note(ctx context.Context, line *feed.Reading) error {
	if err := k.err(); err != nil {
		return err
	}
	r, err := k.codec.Record(ctx, line, false)
	if err != nil {
		return fmt.Errorf("ledger line of %s: %w", line.NameWithOwner, err)
	}
	k.produce(ctx, r)
	return nil
}

func (k *ToKafka) produce(ctx context.Context, r *kgo.Record) {
	k.sent++
	// The reading of an hour ends, and with it its ctx, before all of it is acknowledged:
	// Flush waits for that. The producer bounds each record.
	k.producer.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
		if err != nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.failed == nil {
				k.failed = fmt.Errorf("produce events: %w", err)
			}
		}
	})
}

func (k *ToKafka) err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// Flush implements Target. It rings if anything was sent.
func (k *ToKafka) Flush(ctx context.Context) error {
	if err := errors.Join(k.producer.Flush(ctx), k.err()); err != nil {
		return err
	}
	if k.sent == 0 {
		return nil
	}
	if err := k.producer.ProduceSync(ctx, event.NewBell(event.TopicEvents)).FirstErr(); err != nil {
		return fmt.Errorf("ring for the events: %w", err)
	}
	k.sent = 0
	return nil
}
