// Package kafkatest runs an embedded Kafka for tests.
package kafkatest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Broker starts a Kafka that ends with the test, with some topics of a number of
// partitions each. put writes a record to a partition, whatever its key: as after a
// topic was given another partition, records of one key may be in several.
func Broker(t testing.TB, partitions int32, topics ...string) (cfg kafka.Config, put func(partition int32, r *kgo.Record)) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg = kafka.Config{Brokers: c.ListenAddrs()}
	writer, err := kafka.NewProducer(cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(writer.Close)
	return cfg, func(partition int32, r *kgo.Record) {
		t.Helper()
		r.Partition = partition
		if err := writer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}
