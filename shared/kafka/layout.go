package kafka

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// layout is over how many partitions a stage spreads the keys of each of its
// outputs.
//
// All records of a key must be in one partition, for only there do all readers read
// them in the same order, and readers keep the first row of an observation. The
// partition depends on the key and the number of partitions, so once partitions were
// added to a topic, the next record of a key would be in another partition than those
// before. A stage therefore goes on with the number that the topic had when its group
// first wrote to it, and leaves the added partitions empty.
//
// A layout is committed with the offsets, as their metadata, and so is kept exactly as
// long as they are. Only what two members write at the same time before the first
// commit of their group may be laid out differently.
type layout map[string]spread // by topic

// spread is the layout of one topic. A topic that was recreated has another id, and
// gets a new layout.
type spread struct {
	TopicID    string `json:"topic_id"` // 32 hex digits
	Partitions int    `json:"partitions"`
}

// learn reads the layout of the outputs from what the group has committed, or, if it
// has committed none, from the topics as they are now.
func (l layout) learn(ctx context.Context, admin *kadm.Client, committed kadm.OffsetResponses, outputs []string) error {
	if len(outputs) == 0 {
		return nil
	}
	topics, err := admin.ListTopics(ctx, outputs...)
	if err != nil {
		return fmt.Errorf("describe %v: %w", outputs, err)
	}
	for _, topic := range outputs {
		detail := topics[topic]
		if detail.Err != nil {
			return fmt.Errorf("describe topic %s: %w", topic, detail.Err)
		}
		has := spread{TopicID: hex.EncodeToString(detail.ID[:]), Partitions: len(detail.Partitions)}
		keeps := has
		committed.Each(func(o kadm.OffsetResponse) {
			var known layout
			if o.At < 0 || json.Unmarshal([]byte(o.Metadata), &known) != nil { // metadata that the client wrote
				return
			}
			if s, ok := known[topic]; ok && s.TopicID == has.TopicID && s.Partitions > 0 {
				keeps.Partitions = min(keeps.Partitions, s.Partitions)
			}
		})
		if keeps != has {
			slog.Info("partitions were added to an output: records go to the first ones only",
				"topic", topic, "partitions", has.Partitions, "used", keeps.Partitions)
		}
		l[topic] = keeps
	}
	return nil
}

// committing returns a context in which a transaction's offsets are committed with
// the layout.
func (l layout) committing(ctx context.Context) (context.Context, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode the layout of the outputs: %w", err)
	}
	metadata := string(text)
	return kgo.PreTxnCommitFnContext(ctx, func(r *kmsg.TxnOffsetCommitRequest) error {
		for t := range r.Topics {
			for p := range r.Topics[t].Partitions {
				r.Topics[t].Partitions[p].Metadata = &metadata
			}
		}
		return nil
	}), nil
}

// partitioner is the one of a client that writes the outputs. A topic's layout must
// be known before its first record. Keys are hashed as by every other producer.
func (l layout) partitioner() kgo.Partitioner {
	return laidOut{kgo.UniformBytesPartitioner(64<<10, true, true, nil), kgo.StickyKeyPartitioner(nil), l} // the first is the client's default
}

type laidOut struct {
	kgo.Partitioner // of topics that have no layout
	keyed           kgo.Partitioner
	layout          layout
}

// ForTopic implements kgo.Partitioner.
func (o laidOut) ForTopic(topic string) kgo.TopicPartitioner {
	if s, ok := o.layout[topic]; ok {
		return spreading{o.keyed.ForTopic(topic), s.Partitions}
	}
	return o.Partitioner.ForTopic(topic)
}

type spreading struct {
	kgo.TopicPartitioner
	partitions int
}

// Partition implements kgo.TopicPartitioner.
func (s spreading) Partition(r *kgo.Record, n int) int {
	return s.TopicPartitioner.Partition(r, min(n, s.partitions))
}
