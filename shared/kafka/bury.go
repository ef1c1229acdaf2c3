package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Bury writes a record that can never be processed to the dead letters of its
// topic and returns once that is durable. The letter's id is the record's
// place, so burying twice is burying once.
func Bury(ctx context.Context, client *kgo.Client, stage string, r *kgo.Record, reason error) error {
	letter, err := event.NewDeadLetter(stage, r, reason).Record()
	if err != nil {
		return err
	}
	if err := client.ProduceSync(ctx, letter).FirstErr(); err != nil {
		return fmt.Errorf("write the dead letter of %s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return nil
}
