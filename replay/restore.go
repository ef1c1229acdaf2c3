package replay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// How much of an archive is in memory at once: the offsets of one topic, of all of
// its partitions, that are read together, fewer where they have more bytes.
const (
	windowOffsets = 2_000
	windowBytes   = 256 << 20
)

// Archive is a copy of Kafka's log that Kafka Connect has made.
type Archive interface {
	Spans(ctx context.Context) (map[kafka.Partition]sinkiceberg.Span, error)
	Read(ctx context.Context, topic string, first, next int64, most int) ([]*kgo.Record, error)
}

// Facts are the topics that are restored unless others are named: those that nothing
// else can make again. Rows are computed from the observations again, dead letters
// found again, and requests and bells are of no use any more.
func Facts() (topics []string) {
	for _, c := range event.Contracts() {
		if c.Topic != event.TopicProcessedRepos && c.Topic != event.TopicFetchRequests {
			topics = append(topics, c.Topic)
		}
	}
	return topics
}

// Restore writes the records of topics, as they are, from an archive into an empty
// Kafka: each to its partition, in its order, with its key, value, headers and time,
// and rings. Only offsets are new: transactions and deleted records leave no holes.
//
// It is safe to repeat after it was interrupted: of a partition that begins with what
// the archive has, only the rest is written. One that holds anything else is an error,
// as is a registry that does not know how the records were written; both before the
// first record is written.
type Restore struct {
	From    Archive
	To      kafka.Config
	Codec   *event.Codec
	Topics  []string
	Written func(topic string, records int) // called after each part that is durable
}

// Run restores; Written says how much.
func (r Restore) Run(ctx context.Context) error {
	spans, err := r.From.Spans(ctx)
	if err != nil {
		return err
	}
	// Observations come last: what aggregate makes of them goes behind the signals
	// that are restored, so that a second run finds them where it looks.
	topics := slices.Compact(slices.Sorted(slices.Values(r.Topics)))
	if i, ok := slices.BinarySearch(topics, event.TopicBaseRepos); ok {
		topics = append(slices.Delete(topics, i, i+1), event.TopicBaseRepos)
	}
	var parts []*restoring
	for _, topic := range topics {
		t, err := r.prepare(ctx, topic, spans)
		if err != nil {
			return fmt.Errorf("restore %s: %w", topic, err)
		}
		if t != nil {
			parts = append(parts, t)
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("the archive has none of %s", strings.Join(r.Topics, ", "))
	}
	producer, err := kafka.NewProducer(r.To, kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(event.TopicBatch),
		kgo.RecordDeliveryTimeout(0)) // it would be counted from the record's own time
	if err != nil {
		return err
	}
	defer producer.Close()
	for _, t := range parts {
		if err := r.write(ctx, producer, t); err != nil {
			return fmt.Errorf("restore %s: %w", t.topic, err)
		}
	}
	return nil
}

// restoring is one topic.
type restoring struct {
	topic       string
	first, next int64           // offsets in the archive
	there       map[int32]int64 // by partition: the archive's first records that Kafka has
}

// prepare looks whether a topic can be restored; nil if the archive has nothing of it.
// It reads all of the archive once.
func (r Restore) prepare(ctx context.Context, topic string, spans map[kafka.Partition]sinkiceberg.Span) (*restoring, error) {
	t := &restoring{topic: topic, there: map[int32]int64{}}
	var partitions []int32
	for p, s := range spans {
		if p.Topic != topic {
			continue
		}
		if len(partitions) == 0 {
			t.first, t.next = s.First, s.Next
		}
		partitions = append(partitions, p.Number)
		t.first, t.next = min(t.first, s.First), max(t.next, s.Next)
	}
	if len(partitions) == 0 {
		return nil, nil
	}
	ends, err := kafka.Ends(ctx, r.To, topic)
	if err != nil {
		return nil, err
	}
	starts, err := kafka.Starts(ctx, r.To, topic)
	if err != nil {
		return nil, err
	}
	for _, p := range partitions {
		if _, ok := ends[kafka.Partition{Topic: topic, Number: p}]; !ok {
			return nil, fmt.Errorf("it has %d partitions, the archive has one numbered %d", len(ends), p)
		}
	}
	for p := range ends {
		if starts[p] > 0 {
			return nil, fmt.Errorf("partition %d begins at %d: want an empty topic", p.Number, starts[p])
		}
	}
	seen := map[uint32]bool{}
	counted := map[int32]int64{}
	last := map[int32]*kgo.Record{} // the newest that both may have
	err = r.windows(ctx, t, func(records []*kgo.Record) error {
		for _, rec := range records {
			if err := r.readable(ctx, rec, seen); err != nil {
				return err
			}
			if counted[rec.Partition] < ends[kafka.Partition{Topic: topic, Number: rec.Partition}] {
				last[rec.Partition] = rec
				counted[rec.Partition]++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for p := range ends {
		if n := counted[p.Number]; n > 0 {
			got, err := kafka.ReadAt(ctx, r.To, p, n-1)
			if err != nil && !errors.Is(err, kafka.ErrMissing) {
				return nil, err
			}
			if err != nil || !kafka.SameContent(got, last[p.Number]) {
				return nil, fmt.Errorf("partition %d holds other records than the archive: want an empty topic", p.Number)
			}
			t.there[p.Number] = n
		}
	}
	return t, nil
}

// windows passes a topic's records to each in parts: in order of the offsets by which
// it is cut, in each partition in the order of all.
func (r Restore) windows(ctx context.Context, t *restoring, each func([]*kgo.Record) error) error {
	width := int64(windowOffsets)
	for at := t.first; at < t.next; {
		records, err := r.From.Read(ctx, t.topic, at, at+width, windowBytes)
		if errors.Is(err, sinkiceberg.ErrArchiveSize) {
			width = max(1, width/2)
			continue
		}
		if err == nil {
			err = each(records)
		}
		if err != nil {
			return err
		}
		at += width
	}
	return nil
}

// readable checks that the registry knows the schema of a record of ours.
func (r Restore) readable(ctx context.Context, rec *kgo.Record, seen map[uint32]bool) error {
	if event.Header(rec, "content-type") != event.ContentAvro || len(rec.Value) < 5 {
		return nil
	}
	if id := binary.BigEndian.Uint32(rec.Value[1:]); !seen[id] {
		seen[id] = true
		if _, err := r.Codec.JSON(ctx, rec); errors.Is(err, event.ErrUnknownSchema) {
			return fmt.Errorf("put the registry back first: %w", err)
		} else if err != nil && !errors.Is(err, event.ErrInvalid) {
			return err
		}
	}
	return nil
}

// write writes what Kafka does not have yet.
func (r Restore) write(ctx context.Context, producer *kgo.Client, t *restoring) error {
	passed := map[int32]int64{}
	err := r.windows(ctx, t, func(records []*kgo.Record) error {
		n := 0
		results := kgo.AbortingFirstErrPromise(producer)
		for _, rec := range records {
			if passed[rec.Partition]++; passed[rec.Partition] <= t.there[rec.Partition] {
				continue
			}
			n++
			producer.Produce(ctx, &kgo.Record{Topic: rec.Topic, Partition: rec.Partition, Timestamp: rec.Timestamp, Key: rec.Key, Value: rec.Value, Headers: rec.Headers}, results.Promise())
		}
		if err := errors.Join(producer.Flush(ctx), results.Err()); err != nil {
			return err
		}
		if n > 0 {
			kafka.RingBell(ctx, producer, t.topic)
			if r.Written != nil {
				r.Written(t.topic, n)
			}
		}
		return nil
	})
	return errors.Join(err, producer.Flush(context.WithoutCancel(ctx)))
}
