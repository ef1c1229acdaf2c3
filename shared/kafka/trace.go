package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// startBlock begins the span of a block's processing, which follows from the spans
// that its records were produced in.
func startBlock(ctx context.Context, drain, topic string, records []*kgo.Record) (context.Context, trace.Span) {
	var from []trace.Place
	if trace.On() {
		from = event.PlacesOf(records)
	}
	return trace.StartJoined(ctx, trace.Consumer, "process "+topic, from,
		"messaging.system", "kafka", "messaging.destination.name", topic, "messaging.consumer.group.name", drain,
		"messaging.batch.message_count", len(records), "m7pulse.places", len(from))
}
