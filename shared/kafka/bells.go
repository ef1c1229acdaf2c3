package kafka

import (
	"context"
	"errors"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// RingBell writes a bell for a topic, whose new records must be durable already. It
// returns at once; ctx says where in a trace it is rung. A bell that cannot be written
// is only logged: the records are read at the next bell or wake.
func RingBell(ctx context.Context, client *kgo.Client, topic string) {
	bell := event.NewBell(topic)
	if bell == nil {
		return
	}
	client.Produce(context.WithoutCancel(ctx), bell, func(_ *kgo.Record, err error) {
		if err != nil {
			slog.WarnContext(ctx, "write a bell: records wait for the next bell or wake", "topic", topic, "error", err)
		}
	})
}

// DrainToEnd waits until what is in the topics now is durable, at most 15 s. The bell
// that asks for it is identified by its position in the topic of bells: one before a
// bell that was answered is answered at once, for its records are earlier too.
//
// If work is left, the newest bell is answered with ErrBehind, and the others with
// nil: it is enough that one of them is sent again.
//
// Bells are read committed, as all records are, so none arrives before its records can
// be read.
func (d *Drain) DrainToEnd(ctx context.Context, bell Partition, offset int64) error {
	rung := Offsets{bell: offset + 1}
	if done, _ := d.answered.covers(rung); done {
		return nil
	}
	d.heard.advance(rung)
	ends, err := d.ends(ctx)
	if err != nil {
		return err
	}
	err = d.waitCovered(ctx, ends)
	if errors.Is(err, ErrBehind) && d.heard.snapshot()[bell] > offset+1 {
		return nil
	}
	if err == nil {
		d.answered.advance(rung)
	}
	return err
}
