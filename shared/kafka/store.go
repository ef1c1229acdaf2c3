package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Mark is where a store stands in one partition. The topic is known by its id:
// a topic deleted and made again is another one, though its name is the same.
type Mark struct {
	TopicID   string // 32 hex digits
	Partition int32
	Next      int64
}

// Store keeps blocks, and with them the offsets from which to go on.
type Store interface {
	// Resume makes the store ready for this writer and returns its marks for a
	// topic, under whatever topic id.
	Resume(ctx context.Context, topic string) ([]Mark, error)
	// Put makes a block of one topic durable, together with its offsets. It
	// may be called again with a block that overlaps what is stored already
	// only after a new Resume.
	Put(ctx context.Context, topicID string, b Block) error
}

// NewStoreDrain drains topics into a store, each topic in blocks of its own.
func NewStoreDrain(name string, cfg Config, bounds Bounds, stores map[string]Store) (*Drain, error) {
	var topics []string
	for t := range stores {
		topics = append(topics, t)
	}
	s := &storing{cfg: cfg, bounds: bounds, topics: topics, stores: stores}
	d, err := newDrain(name, cfg, topics, s.live)
	if err != nil {
		return nil, err
	}
	s.admin, s.breaker = d.admin, d.breaker
	return d, nil
}

// storing is the loop that drains into stores.
type storing struct {
	cfg    Config
	bounds Bounds
	topics []string
	stores map[string]Store
	admin  *kadm.Client

	breaker *breaker
}

func (s *storing) live(ctx context.Context, durable func(Offsets)) error {
	from, ids, err := s.resume(ctx)
	if err != nil {
		return err
	}
	durable(from)
	assign := map[string]map[int32]kgo.Offset{}
	for p, next := range from {
		if assign[p.Topic] == nil {
			assign[p.Topic] = map[int32]kgo.Offset{}
		}
		assign[p.Topic][p.Number] = kgo.NewOffset().At(next)
	}
	client, err := kgo.NewClient(append(s.cfg.Options(),
		kgo.ConsumePartitions(assign),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxBytes(32<<20),
		kgo.FetchMaxPartitionBytes(8<<20),
	)...)
	if err != nil {
		return fmt.Errorf("kafka consumer: %w", err)
	}
	defer client.Close()

	gather := newGatherer(client, s.bounds)
	for {
		blocks, err := gather.next(ctx)
		if err != nil {
			return err
		}
		// A block in hand is stored even while the function stops: the work is
		// done, and a successor need not do it again. Twenty seconds are what
		// is left of the thirty that a stopping function has.
		storing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		for topic, b := range blocks {
			err := s.breaker.put(func() error { return s.stores[topic].Put(storing, ids[topic], *b) })
			if err != nil {
				cancel()
				return fmt.Errorf("store a block of %s: %w", topic, err)
			}
			durable(b.Next)
		}
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// resume asks every store where it stands and checks that against the log.
func (s *storing) resume(ctx context.Context) (Offsets, map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	topics, err := s.admin.ListTopics(ctx, s.topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("describe %v: %w", s.topics, err)
	}
	starts, err := s.admin.ListStartOffsets(ctx, s.topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("list the starts of %v: %w", s.topics, err)
	}
	ends, err := s.admin.ListEndOffsets(ctx, s.topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("list the ends of %v: %w", s.topics, err)
	}
	from, ids := Offsets{}, map[string]string{}
	for _, topic := range s.topics {
		detail := topics[topic]
		if detail.Err != nil {
			return nil, nil, fmt.Errorf("describe topic %s: %w", topic, detail.Err)
		}
		id := hex.EncodeToString(detail.ID[:])
		ids[topic] = id
		marks, err := s.breaker.resume(func() ([]Mark, error) { return s.stores[topic].Resume(ctx, topic) })
		if err != nil {
			return nil, nil, fmt.Errorf("resume %s: %w", topic, err)
		}
		for n := range detail.Partitions {
			start, _ := starts.Lookup(topic, n)
			end, _ := ends.Lookup(topic, n)
			if err := errors.Join(start.Err, end.Err); err != nil {
				return nil, nil, fmt.Errorf("offsets of %s/%d: %w", topic, n, err)
			}
			from[Partition{topic, n}] = start.Offset
		}
		for _, m := range marks {
			p := Partition{topic, m.Partition}
			start, known := from[p]
			end, _ := ends.Lookup(topic, m.Partition)
			switch {
			case m.TopicID != id:
				return nil, nil, fmt.Errorf("%w: the store holds offsets of topic %s under id %s, but the broker's %s has id %s: the topic was made again; point the function to its old Kafka, or empty the store",
					ErrFatal, topic, m.TopicID, topic, id)
			case !known || m.Next > end.Offset:
				return nil, nil, fmt.Errorf("%w: the store is at offset %d of %s/%d, but the log ends at %d: the broker has lost records",
					ErrFatal, m.Next, topic, m.Partition, end.Offset)
			case m.Next < start:
				slog.Error("gap: records were deleted before they were stored", "topic", topic, "partition", m.Partition, "from", m.Next, "to", start)
			default:
				from[p] = m.Next
			}
		}
	}
	return from, ids, nil
}
