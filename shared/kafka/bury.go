package kafka

import (
	"context"
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
