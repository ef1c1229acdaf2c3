package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// The extensions in which a KafkaSource gives an event's position in Kafka. The
// topic is added by the manifests' ceOverrides.
const (
	extTopic     = "kafkatopic"
	extPartition = "knativekafkapartition"
	extOffset    = "knativekafkaoffset"
)

// Draining is a function whose work is a drain: events are bells. It is safe to
// send it any event any number of times and in any order, because a bell's
// content is never looked at and the drain goes by its own offsets.
type Draining struct {
	Drain *kafka.Drain
	// Accept checks an event posted by hand and returns the record to produce.
	Accept func(ctx context.Context, e cloudevents.Event) (*kgo.Record, error)
	// Topics are the topics that the drain reads.
	Topics []string
	// Tasks are what a tick may ask for besides "wake". They must be safe to repeat.
	Tasks map[string]func(context.Context) error
	// Closers are run once the drain has stopped, in their order.
	Closers []func() error
}

// Receive answers a bell, a wake, or an event posted by hand.
func (d *Draining) Receive(ctx context.Context, e cloudevents.Event) error {
	if e.Type() == event.TypeTick {
		do, err := Tick(e)
		if err != nil {
			return err
		}
		if task, ok := d.Tasks[do]; ok {
			return task(ctx)
		}
		if do != "wake" {
			return event.Invalid("this function can do %q, not %q", append(slices.Sorted(maps.Keys(d.Tasks)), "wake"), do)
		}
		return d.Drain.Wake(ctx)
	}
	ext := e.Extensions()
	if offset, ok := ext[extOffset]; ok {
		p, n, err := position(ext, offset)
		if err != nil {
			return err
		}
		if topic, ok := event.TopicOfBell(p.Topic); ok && d.reads(topic) {
			return d.Drain.DrainToEnd(ctx, p, n)
		}
		if !d.reads(p.Topic) {
			return event.Invalid("a bell of topic %q, which this function does not drain", p.Topic)
		}
		return d.Drain.Cover(ctx, p, n)
	}
	r, err := d.Accept(ctx, e)
	if err != nil {
		return err
	}
	if !d.reads(r.Topic) {
		return event.Invalid("an event of type %q belongs in topic %s, which this function does not drain", e.Type(), r.Topic)
	}
	return d.Drain.Publish(ctx, r)
}

func (d *Draining) reads(topic string) bool {
	for _, t := range d.Topics {
		if t == topic {
			return true
		}
	}
	return false
}

// BellTopic returns the topic that a bell is for, and whether the event is a bell
// at all: one that did not come from Kafka is not.
func BellTopic(e cloudevents.Event) (topic string, bell bool) {
	ext := e.Extensions()
	if _, bell = ext[extOffset]; bell {
		topic, _ = ext[extTopic].(string)
		if of, ok := event.TopicOfBell(topic); ok {
			topic = of
		}
	}
	return topic, bell
}

func position(ext map[string]any, offset any) (kafka.Partition, int64, error) {
	topic, _ := ext[extTopic].(string)
	number, errPartition := strconv.ParseInt(text(ext[extPartition]), 10, 32)
	n, errOffset := strconv.ParseInt(text(offset), 10, 64)
	if topic == "" || errPartition != nil || errOffset != nil || n < 0 {
		return kafka.Partition{}, 0, event.Invalid("a bell without topic, partition and offset: %s=%v %s=%v %s=%v", extTopic, ext[extTopic], extPartition, ext[extPartition], extOffset, offset)
	}
	return kafka.Partition{Topic: topic, Number: int32(number)}, n, nil
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int32:
		return strconv.FormatInt(int64(v), 10)
	}
	return ""
}

// Tick reads what a PingSource asks for.
func Tick(e cloudevents.Event) (do string, err error) {
	var tick struct {
		Do string `json:"do"`
	}
	if err := json.Unmarshal(e.Data(), &tick); err != nil {
		return "", event.Invalid("a tick that is not JSON: %w", err)
	}
	return tick.Do, nil
}

// Status returns the drain's last error and the offsets it has covered.
func (d *Draining) Status() Status {
	covered := map[string]int64{}
	for p, next := range d.Drain.Covered() {
		covered[p.Topic+"/"+strconv.Itoa(int(p.Number))] = next
	}
	s := Status{Detail: map[string]any{"covered": covered, "breaker": d.Drain.Breaker()}, Metrics: d.Drain.Metrics()}
	for _, state := range []string{"closed", "half-open", "open"} {
		is := 0.0
		if state == d.Drain.Breaker() {
			is = 1
		}
		s.Gauges = append(s.Gauges, Gauge{"breaker", "1 at the state of the circuit breaker.", map[string]string{"state": state}, is})
	}
	for p, next := range d.Drain.Covered() {
		s.Gauges = append(s.Gauges, Gauge{"drained_offset", "The next offset to be drained.", map[string]string{"topic": p.Topic, "partition": strconv.Itoa(int(p.Number))}, float64(next)})
	}
	if err := d.Drain.Err(); err != nil {
		s.Failing = err.Error()
	}
	return s
}

// Close stops the drain, then closes its connections. While the drain is still at
// work they are left open: a lease released now would let a successor write beside
// it, and one that is not released expires by itself.
func (d *Draining) Close(ctx context.Context) error {
	if err := d.Drain.Stop(ctx); err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- runAll(d.Closers) }()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("close the connections of a drain: %w", ctx.Err())
	}
}
