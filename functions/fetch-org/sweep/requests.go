package sweep

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// request requests the next part of a sweep; part distinguishes it from the other
// requests of that sweep.
func (s *Sweeper) request(ctx context.Context, r event.FetchRequested, part string) error {
	return s.send(ctx, []event.FetchRequested{r}, part)
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

// setID gives a record an id other than the one that follows from its content.
func setID(r *kgo.Record, id string) {
	for i := range r.Headers {
		if r.Headers[i].Key == "ce_id" {
			r.Headers[i].Value = []byte(id)
		}
	}
}
