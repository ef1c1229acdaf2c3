package notify

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// maxAge is how old a signal may be that is sent. An older one is history: of a replay,
// or from before the function was set up.
const maxAge = 24 * time.Hour

// intake puts the messages that follow from signals into the outbox.
type intake struct {
	function *function
	decoder  *kafka.Decoder[event.Signal]
	letters  *kafka.DeadLetters
	// reached is how far the outbox is, as this process knows. A Redis that knows less has
	// lost messages.
	reached kafka.Offsets
}

// Resume implements kafka.Store.
func (i *intake) Resume(ctx context.Context, topic string, _ []int32) ([]kafka.Mark, error) {
	marks, err := i.function.outbox.marks(ctx)
	if err != nil {
		return nil, err
	}
	i.reached = kafka.Offsets{}
	for _, m := range marks {
		i.reached[kafka.Partition{Topic: topic, Number: m.Partition}] = m.Next
	}
	return marks, nil
}

// Prepare implements kafka.Store.
func (i *intake) Prepare(ctx context.Context, topicID string, b kafka.Block) (kafka.Put, error) {
	signals, invalid, err := i.decoder.Decode(ctx, b.Records)
	if err != nil {
		return nil, err
	}
	bad := map[*kgo.Record]bool{}
	for _, r := range invalid.Records() {
		bad[r] = true
	}
	var valid []*kgo.Record // one for each signal
	for _, r := range b.Records {
		if !bad[r] {
			valid = append(valid, r)
		}
	}
	b.Records = nil
	return func(ctx context.Context) (kafka.Offsets, error) {
		if err := i.letters.Write(ctx, invalid); err != nil {
			return nil, err
		}
		now := i.function.now()
		var messages []*message
		old := 0
		for n, s := range signals {
			if now.Sub(s.ObservedAt) > maxAge {
				old++
				continue
			}
			messages = append(messages, i.function.messages(s, valid[n], now)...)
		}
		if err := i.function.outbox.put(ctx, topicID, i.reached, b.Next, messages, now); err != nil {
			return nil, err
		}
		for p, next := range b.Next {
			i.reached[p] = max(i.reached[p], next)
		}
		if old > 0 {
			slog.Info("signals are too old to be sent", "signals", old, "older_than", maxAge)
		}
		return b.Next, nil
	}, nil
}

// messages are those that follow from a signal: one for each target that a rule names,
// or for that of the dead letter which is retried.
func (f *function) messages(s *event.Signal, r *kgo.Record, now time.Time) []*message {
	var all []*message
	only := event.Header(r, "ce_"+event.OnlyPart)
	for _, name := range f.rules.targets(s) {
		if only != "" && name != only {
			continue
		}
		to := f.rules.Targets[name]
		due := to.due(s, now)
		all = append(all, &message{Target: name, Since: due, Record: recordOf(r), id: name + " " + s.ID, due: due})
	}
	return all
}
