package kafka

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// TopicID returns the id of a topic, 32 hex digits. A topic recreated under
// the same name has another.
func TopicID(ctx context.Context, cfg Config, topic string) (string, error) {
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		return "", fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err == nil {
		err = topics[topic].Err
	}
	if err != nil {
		return "", fmt.Errorf("describe topic %s: %w", topic, err)
	}
	id := topics[topic].ID
	return hex.EncodeToString(id[:]), nil
}

// Ends returns the last stable offset of every partition.
func Ends(ctx context.Context, cfg Config, topics ...string) (Offsets, error) {
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	return endsOf(ctx, kadm.NewClient(client), topics...)
}

func endsOf(ctx context.Context, admin *kadm.Client, topics ...string) (Offsets, error) {
	listed, err := admin.ListCommittedOffsets(ctx, topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the ends of %v: %w", topics, err)
	}
	ends := Offsets{}
	listed.Each(func(o kadm.ListedOffset) { ends[Partition{o.Topic, o.Partition}] = o.Offset })
	return ends, nil
}

// Starts returns the offset of the first record that every partition still has, or,
// of one that has none, its end.
func Starts(ctx context.Context, cfg Config, topics ...string) (Offsets, error) {
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	return startsOf(ctx, kadm.NewClient(client), topics...)
}

func startsOf(ctx context.Context, admin *kadm.Client, topics ...string) (Offsets, error) {
	listed, err := admin.ListStartOffsets(ctx, topics...)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list the starts of %v: %w", topics, err)
	}
	starts := Offsets{}
	listed.Each(func(o kadm.ListedOffset) { starts[Partition{o.Topic, o.Partition}] = o.Offset })
	return starts, nil
}

// DeleteBefore deletes the records of partitions before some offsets, which must not be
// beyond their ends, and returns how many offsets that were. Nobody can read them from
// then on; the broker deletes their files when all of a segment is deleted and another
// has been begun. It is safe to repeat.
func DeleteBefore(ctx context.Context, cfg Config, offsets Offsets) (deleted int64, err error) {
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		return 0, fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for p, before := range offsets {
		starts, err := startsOf(ctx, admin, p.Topic)
		if err != nil {
			return deleted, err
		}
		ends, err := endsOf(ctx, admin, p.Topic)
		if err != nil {
			return deleted, err
		}
		if before >= ends[p] {
			if err := holdEnd(ctx, cfg, p); err != nil {
				return deleted, err
			}
		}
		if starts[p] >= before {
			continue // by retention, or by a call before this one
		}
		done, err := admin.DeleteRecords(ctx, kadm.Offsets{p.Topic: {p.Number: {Topic: p.Topic, Partition: p.Number, At: before}}})
		if err == nil {
			err = done.Error()
		}
		if err != nil {
			return deleted, fmt.Errorf("delete the records of %s/%d before %d: %w", p.Topic, p.Number, before, err)
		}
		deleted += before - starts[p]
	}
	return deleted, nil
}

// holdEnd writes into a partition that is about to be emptied what no reader sees: a
// transaction that is aborted. The broker of a local stack forgets where a partition
// without a single batch had ended, and every reader would be beyond its end.
func holdEnd(ctx context.Context, cfg Config, p Partition) error {
	client, err := NewProducer(cfg, kgo.TransactionalID("pulse-hold-"+p.Topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	err = client.BeginTransaction()
	if err == nil {
		err = errors.Join(client.ProduceSync(ctx, &kgo.Record{Topic: p.Topic, Partition: p.Number}).FirstErr(), client.EndTransaction(ctx, kgo.TryAbort))
	}
	if err != nil {
		return fmt.Errorf("hold the end of %s/%d: %w", p.Topic, p.Number, err)
	}
	return nil
}

// Remaining returns the last stable offsets of those partitions that hold records. One
// whose records have all been deleted has nothing left to read.
func Remaining(ctx context.Context, cfg Config, topics ...string) (Offsets, error) {
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	return remainingOf(ctx, kadm.NewClient(client), topics...)
}

func remainingOf(ctx context.Context, admin *kadm.Client, topics ...string) (Offsets, error) {
	ends, err := endsOf(ctx, admin, topics...)
	if err != nil {
		return nil, err
	}
	starts, err := startsOf(ctx, admin, topics...)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(ends, func(p Partition, end int64) bool {
		start, known := starts[p]
		return known && start >= end
	})
	return ends, nil
}

// Truncated reports whether records of a topic have been deleted, by its retention or
// by hand.
func Truncated(ctx context.Context, cfg Config, topic string) (bool, error) {
	starts, err := Starts(ctx, cfg, topic)
	for _, start := range starts {
		if start > 0 {
			return true, nil
		}
	}
	return false, err
}

// Committed returns the offsets that a consumer group has committed of a topic.
// Partitions without one are left out.
func Committed(ctx context.Context, cfg Config, group, topic string) (Offsets, error) {
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	defer client.Close()
	return committedBy(ctx, kadm.NewClient(client), group, topic)
}

func committedBy(ctx context.Context, admin *kadm.Client, group, topic string) (Offsets, error) {
	committed, err := offsetsOf(ctx, admin, group, topic)
	return nextOffsets(committed), err
}

// offsetsOf is what a group has committed of a topic.
func offsetsOf(ctx context.Context, admin *kadm.Client, group, topic string) (kadm.OffsetResponses, error) {
	committed, err := admin.FetchOffsetsForTopics(ctx, group, topic)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil // nobody has committed yet
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the offsets of group %s: %w", group, err)
	}
	return committed, nil
}

// nextOffsets converts committed offsets; partitions without one are left out.
func nextOffsets(committed kadm.OffsetResponses) Offsets {
	next := Offsets{}
	committed.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil && o.At >= 0 {
			next[Partition{o.Topic, o.Partition}] = o.At
		}
	})
	return next
}

// readChunk is the most records that ReadRange passes on at once.
const readChunk = 5_000

// ReadRange reads the committed records of a partition from one offset up to
// another, which must not be beyond the last stable offset, in order and in chunks of
// at most 5000. each is called with a chunk, which may be empty, and the offset after
// it.
func ReadRange(ctx context.Context, cfg Config, p Partition, from, to int64, each func(records []*kgo.Record, next int64) error) error {
	start, err := startOf(ctx, cfg, p)
	if err != nil {
		return err
	}
	if start > from {
		slog.Warn("records were deleted before they were read", "topic", p.Topic, "partition", p.Number, "from", from, "to", start)
		from = start
	}
	client, err := kgo.NewClient(append(cfg.Options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{p.Topic: {p.Number: kgo.NewOffset().At(from)}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)...)
	if err != nil {
		return fmt.Errorf("kafka consumer: %w", err)
	}
	defer client.Close()
	for from < to {
		fetches := client.PollRecords(ctx, readChunk)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fetchError(fetches); err != nil {
			return err
		}
		var records []*kgo.Record
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= to {
				from = to
				return
			}
			from = r.Offset + 1
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
		if err := each(records, from); err != nil {
			return err
		}
	}
	return nil
}

// startOf returns the offset of the first record that a partition still has.
func startOf(ctx context.Context, cfg Config, p Partition) (int64, error) {
	starts, err := Starts(ctx, cfg, p.Topic)
	if err != nil {
		return 0, err
	}
	start, ok := starts[p]
	if !ok { // a broker in trouble may answer for a part
		return 0, fmt.Errorf("list the starts of %s: the broker left out partition %d", p.Topic, p.Number)
	}
	return start, nil
}

// ErrMissing: a record is not in the log, because it was deleted or is not written
// yet.
var ErrMissing = errors.New("record is not in the log")

// ReadAt reads one committed record. If there is none it returns ErrMissing.
func ReadAt(ctx context.Context, cfg Config, p Partition, offset int64) (*kgo.Record, error) {
	missing := fmt.Errorf("read %s/%d/%d: %w", p.Topic, p.Number, offset, ErrMissing)
	ends, err := Ends(ctx, cfg, p.Topic)
	if err != nil {
		return nil, err
	}
	if end, ok := ends[p]; !ok || offset >= end {
		return nil, missing
	}
	var found *kgo.Record
	err = ReadRange(ctx, cfg, p, offset, offset+1, func(records []*kgo.Record, _ int64) error {
		for _, r := range records {
			found = r
		}
		return nil
	})
	if err == nil && found == nil {
		err = missing
	}
	return found, err
}

// newestRecords is the most that Newest returns.
const newestRecords = 20

// Newest returns a function that reads the newest records, at most 20, of one
// partition of a topic, of one that has records if there is one.
func Newest(cfg Config) event.Newest {
	return func(ctx context.Context, topic string) (newest []*kgo.Record, err error) {
		ends, err := Ends(ctx, cfg, topic)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, nil // the topic is created with its first record
		}
		if err != nil {
			return nil, err
		}
		for p, end := range ends {
			err := ReadRange(ctx, cfg, p, max(0, end-newestRecords), end, func(records []*kgo.Record, _ int64) error {
				newest = append(newest, records...)
				return nil
			})
			if err != nil || len(newest) > 0 {
				return newest, err
			}
		}
		return nil, nil
	}
}

// SameContent reports whether two records are the same but for their place: in key,
// value, headers, and time in milliseconds, which is all that Kafka keeps of it.
func SameContent(a, b *kgo.Record) bool {
	return a.Timestamp.UnixMilli() == b.Timestamp.UnixMilli() && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) })
}
