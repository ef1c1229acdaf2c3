package kafka_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// copying makes a stage copy one topic to another, in sessions of its
// own, and returns the partitions that each key is in.
func copying(t *testing.T, cfg kafka.Config) map[string]map[int32]bool {
	t.Helper()
	d, err := kafka.NewTransactDrain("test", cfg, kafka.Bounds{Records: 100, Bytes: 1 << 20}, "in", kafka.Group{Name: "g"},
		func(_ context.Context, b kafka.Block, produce func(*kgo.Record)) (func(context.Context) error, error) {
			for _, r := range b.Records {
				produce(&kgo.Record{Topic: "out", Key: r.Key, Value: r.Value})
			}
			return func(context.Context) error { return nil }, nil
		}, "out")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.DrainAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, d)
	in := map[string]map[int32]bool{}
	ends, err := kafka.Ends(t.Context(), cfg, "out")
	if err != nil {
		t.Fatal(err)
	}
	for p, end := range ends {
		err := kafka.ReadRange(t.Context(), cfg, p, 0, end, func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				if in[string(r.Key)] == nil {
					in[string(r.Key)] = map[int32]bool{}
				}
				in[string(r.Key)][r.Partition] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func keyed(t *testing.T, cfg kafka.Config, topic string, keys int) {
	t.Helper()
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for n := range keys {
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: fmt.Append(nil, n), Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeyKeepsItsPartitionOfAnOutputThatIsWidened(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	client, err := kgo.NewClient(cfg.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const keys = 40
	keyed(t, cfg, "in", keys)
	copying(t, cfg)
	for range 2 { // the layout is still known after the next session
		for _, topic := range []string{"in", "out"} {
			if answers, err := kadm.NewClient(client).CreatePartitions(t.Context(), 2, topic); err != nil || answers.Error() != nil {
				t.Fatal(err, answers.Error())
			}
		}
		keyed(t, cfg, "in", keys)
		in := copying(t, cfg)
		if len(in) != keys {
			t.Errorf("%d keys came out, want %d", len(in), keys)
		}
		for key, partitions := range in {
			if len(partitions) != 1 {
				t.Errorf("key %s is in partitions %v", key, partitions)
			}
		}
	}
}

// A topic that was recreated gets a new layout.
func TestOutputThatWasMadeAgainIsUsedWhole(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in", "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := kafka.Config{Brokers: c.ListenAddrs()}
	keyed(t, cfg, "in", 10)
	copying(t, cfg)
	if err := c.DeleteTopic("out"); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTopic("out", 8, nil); err != nil {
		t.Fatal(err)
	}
	keyed(t, cfg, "in", 100)
	used := map[int32]bool{}
	for _, partitions := range copying(t, cfg) {
		for p := range partitions {
			used[p] = true
		}
	}
	if len(used) != 8 {
		t.Errorf("%d of 8 partitions are used", len(used))
	}
}
