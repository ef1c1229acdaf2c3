package kafka

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// RingBell tells those who drain a topic that there are new records, which the
// caller knows to be durable. It returns at once; a bell that cannot be written
// is logged, for it costs time alone: until the next bell or wake.
func RingBell(client *kgo.Client, topic string) {
	bell := event.NewBell(topic)
	if bell == nil {
		return
	}
	client.Produce(context.Background(), bell, func(_ *kgo.Record, err error) {
		if err != nil {
			slog.Warn("no bell: the records wait for the next one, or for a wake", "topic", topic, "error", err)
		}
	})
}

// Heed answers a bell, known by its own place in the topic of bells, as Wake
// does: what it rang for is in the topics by now. A bell that stands before one
// that was heeded is answered at once, for its records were in the log earlier.
//
// Bells are read committed, like all that a drain reads, so none is heard before
// its records can be.
func (d *Drain) Heed(ctx context.Context, bell Partition, offset int64) error {
	rung := Offsets{bell: offset + 1}
	if done, _ := d.heeded.covers(rung); done {
		return nil
	}
	ends, err := d.ends(ctx)
	if err != nil {
		return err
	}
	if err := d.reach(ctx, ends); err != nil {
		return err
	}
	if done, _ := d.covered.covers(ends); done { // else the answer only says that the drain is at work
		d.heeded.advance(rung)
	}
	return nil
}
