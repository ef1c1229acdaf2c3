package replay_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// kept are the records of an archive, in memory.
type kept []*kgo.Record

func (k kept) Spans(context.Context) (map[kafka.Partition]sinkiceberg.Span, error) {
	spans := map[kafka.Partition]sinkiceberg.Span{}
	for _, r := range k {
		p := kafka.Partition{Topic: r.Topic, Number: r.Partition}
		s, ok := spans[p]
		if !ok {
			s.First = r.Offset
		}
		spans[p] = sinkiceberg.Span{First: min(s.First, r.Offset), Next: max(s.Next, r.Offset+1)}
	}
	return spans, nil
}

func (k kept) Read(_ context.Context, topic string, first, next int64, most int) (out []*kgo.Record, _ error) {
	for _, r := range k {
		if r.Topic == topic && r.Offset >= first && r.Offset < next {
			out = append(out, r)
		}
	}
	if len(out) > 100 && next-first > 1 { // so that it is asked for less
		return nil, sinkiceberg.ErrArchiveSize
	}
	slices.SortFunc(out, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Partition, b.Partition))
	})
	return out, nil
}

// archive are records of two topics, with the holes that transactions leave.
func archive(topics ...string) (k kept) {
	for _, topic := range topics {
		for i := range 300 {
			k = append(k, &kgo.Record{Topic: topic, Partition: int32(i % 2), Offset: 7 + int64(i/2)*3, Timestamp: time.UnixMilli(1_500_000_000_000 + int64(i)),
				Key: fmt.Appendf(nil, "k%d", i%5), Value: fmt.Appendf(nil, "%s %d", topic, i), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{0, 255}}, {Key: "h"}}})
		}
	}
	return k
}

func contents(t *testing.T, cfg kafka.Config, topic string) map[int32][]string {
	t.Helper()
	ends, err := kafka.Ends(t.Context(), cfg, topic)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int32][]string{}
	for p, end := range ends {
		err := kafka.ReadRange(t.Context(), cfg, p, 0, end, func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				out[p.Number] = append(out[p.Number], content(r))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func content(r *kgo.Record) string {
	return fmt.Sprint(r.Timestamp.UnixMilli(), r.Key, r.Value, r.Headers)
}

func (k kept) contents(topic string) map[int32][]string {
	out := map[int32][]string{}
	for _, r := range k {
		if r.Topic == topic {
			out[r.Partition] = append(out[r.Partition], content(r))
		}
	}
	return out
}

func TestArchiveIsPutBackAsItWas(t *testing.T) {
	topics := []string{event.TopicBaseRepos, event.TopicSignals}
	cfg, codec := servers(t, kfake.SeedTopics(3, topics...), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	all := archive(event.TopicBaseRepos, event.TopicSignals, event.TopicProcessedRepos)
	var order []string
	ctx, stop := context.WithCancel(t.Context())
	restore := replay.Restore{From: all, To: cfg, Codec: codec, Topics: topics, Written: func(topic string, _ int) {
		if order = append(order, topic); topic == event.TopicBaseRepos {
			stop() // and a second run goes on
		}
	}}
	if err := restore.Run(ctx); err == nil {
		t.Fatal("it was not interrupted")
	}
	if slices.IndexFunc(order, func(s string) bool { return s == event.TopicBaseRepos }) != len(order)-1 || len(order) < 2 {
		t.Errorf("written in the order %v, want observations last", order)
	}
	restore.Written = nil
	for range 2 {
		if err := restore.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, topic := range topics {
			if got, want := fmt.Sprint(contents(t, cfg, topic)), fmt.Sprint(all.contents(topic)); got != want {
				t.Fatalf("%s holds\n%s\nwant\n%s", topic, got, want)
			}
		}
	}
	bells, err := kafka.Ends(t.Context(), cfg, event.BellTopic(event.TopicBaseRepos))
	if err != nil || bells[kafka.Partition{Topic: event.BellTopic(event.TopicBaseRepos)}] == 0 {
		t.Errorf("no bell: %v, %v", bells, err)
	}
}

func TestArchiveIsNotPutBackWhereItDoesNotFit(t *testing.T) {
	const topic = event.TopicSweeps
	for name, c := range map[string]struct {
		partitions int32
		there      string // value of a record that Kafka has already
		change     func(*kgo.Record)
		want       string
	}{
		"other records":    {2, "something else", nil, "holds other records than the archive"},
		"fewer partitions": {1, "", nil, "it has 1 partitions, the archive has one numbered 1"},
		"unknown schema": {2, "", func(r *kgo.Record) {
			r.Value = []byte{0, 0, 0, 0, 9, 1}
			r.Headers = []kgo.RecordHeader{{Key: "content-type", Value: []byte(event.ContentAvro)}, {Key: "ce_type", Value: []byte(event.TypeOwnerSwept)}}
		}, "put the registry back first"},
	} {
		cfg, codec := servers(t, kfake.SeedTopics(c.partitions, topic))
		want := 0
		if c.there != "" {
			producer, err := kafka.NewProducer(cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				t.Fatal(err)
			}
			if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(c.there)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			producer.Close()
			want = 1
		}
		all := archive(topic)
		if c.change != nil {
			c.change(all[299])
		}
		err := replay.Restore{From: all, To: cfg, Codec: codec, Topics: []string{topic}}.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if got := contents(t, cfg, topic); len(got[0])+len(got[1]) != want {
			t.Errorf("%s: %d records were written", name, len(got[0])+len(got[1])-want)
		}
	}
	cfg, codec := servers(t, kfake.SeedTopics(2, topic))
	if err := (replay.Restore{From: archive(topic), To: cfg, Codec: codec, Topics: []string{event.TopicEvents}}).Run(t.Context()); err == nil {
		t.Error("an archive without any of the topics is put back")
	}
}
