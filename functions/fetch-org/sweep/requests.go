package sweep

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// request requests the next part of a sweep; part distinguishes it from the other
// requests of that sweep.
func (s *Sweeper) request(ctx context.Context, r event.FetchRequested, part string) error {
	return s.send(trace.Beside(ctx), []event.FetchRequested{r}, part)
}

func (s *Sweeper) send(ctx context.Context, requests []event.FetchRequested, part string) error {
	records := make([]*kgo.Record, len(requests))
	for i := range requests {
		r, err := s.codec.Record(ctx, &requests[i], false)
		if err != nil {
			return err
		}
		if part != "" {
			setID(r, event.Header(r, "ce_id")+"#"+part)
		}
		records[i] = r
	}
	if err := s.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("publish %d fetch requests: %w", len(requests), err)
	}
	return nil
}

// publishRecords writes records of a topic, all of one span, and returns once they are
// durable.
func (s *Sweeper) publishRecords(ctx context.Context, topic string, records ...*kgo.Record) (err error) {
	ctx, span := trace.Start(ctx, trace.Producer, "publish "+topic, "messaging.system", "kafka", "messaging.destination.name", topic, "messaging.batch.message_count", len(records))
	defer func() { span.End(err) }()
	return s.producer.ProduceSync(ctx, records...).FirstErr()
}

// setID gives a record an id other than the one that follows from its content.
func setID(r *kgo.Record, id string) {
	for i := range r.Headers {
		if r.Headers[i].Key == "ce_id" {
			r.Headers[i].Value = []byte(id)
		}
	}
}
