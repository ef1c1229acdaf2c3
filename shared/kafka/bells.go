package kafka

import (
	"context"
	"errors"
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

// Heed waits until all is durable that a bell, known by its own place in the topic of
// bells, may have rung for: what is in the topics by now. It waits at most 15 s. A
// bell that stands before one that was heeded is answered at once, for its records
// were in the log earlier.
//
// With work left, the newest bell is answered with ErrBehind, and the others with
// nil: one that comes again is enough.
//
// Bells are read committed, like all that a drain reads, so none is heard before
// its records can be.
func (d *Drain) Heed(ctx context.Context, bell Partition, offset int64) error {
	rung := Offsets{bell: offset + 1}
	if done, _ := d.heeded.covers(rung); done {
		return nil
	}
	d.heard.advance(rung)
	ends, err := d.ends(ctx)
	if err != nil {
		return err
	}
	err = d.reach(ctx, ends)
	if errors.Is(err, ErrBehind) && d.heard.snapshot()[bell] > offset+1 {
		return nil
	}
	if err == nil {
		d.heeded.advance(rung)
	}
	return err
}
