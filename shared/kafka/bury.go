package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Poison are records that can never be processed.
type Poison []poisoned

type poisoned struct {
	record *kgo.Record
	reason error
}

// Decode reads records, each as an R, in their order. Those that decode finds
// invalid are the poison; any other error is the whole's.
func Decode[R any](ctx context.Context, records []*kgo.Record, decode func(context.Context, *kgo.Record) (R, error)) ([]R, Poison, error) {
	out := make([]R, 0, len(records))
	var bad Poison
	for _, rec := range records {
		r, err := decode(ctx, rec)
		switch {
		case errors.Is(err, event.ErrInvalid):
			bad = append(bad, poisoned{rec, err})
		case err != nil:
			return nil, nil, fmt.Errorf("%s/%d/%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		default:
			out = append(out, r)
		}
	}
	return out, bad, nil
}

// Bury writes poison to the dead letters of its topics, and returns once that
// is durable. A letter's id is the record's place, so burying twice is burying
// once.
func (p Poison) Bury(ctx context.Context, client *kgo.Client, stage string) error {
	for _, bad := range p {
		r := bad.record
		letter, err := event.NewDeadLetter(stage, r, bad.reason).Record()
		if err != nil {
			return err
		}
		if err := client.ProduceSync(ctx, letter).FirstErr(); err != nil {
			return fmt.Errorf("write the dead letter of %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
	}
	return nil
}
