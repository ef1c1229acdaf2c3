package knative

import (
	"fmt"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"testing"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

const topic = "t"

// broker is an embedded Kafka with one topic of three partitions.
func broker(t testing.TB) (kafka.Config, *kgo.Client) {
	t.Helper()
	b, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	cfg := kafka.Config{Brokers: b.ListenAddrs()}
	producer, err := kafka.NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	return cfg, producer
}

// record is a CloudEvent as our functions write them.
func record(n int) *kgo.Record {
	return &kgo.Record{
		Topic: topic,
		Key:   fmt.Appendf(nil, "key %d", n),
		Value: fmt.Appendf(nil, "\x00body %d", n),
		Headers: []kgo.RecordHeader{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: fmt.Appendf(nil, "id-%d", n)},
			{Key: "ce_type", Value: []byte("test")},
			{Key: "ce_source", Value: []byte("/test")},
			{Key: "ce_mayrepeat", Value: []byte("true")},
			{Key: "content-type", Value: []byte("application/avro")},
			{Key: "traceparent", Value: []byte("not an attribute")},
		},
	}
}

func produce(t testing.TB, producer *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
