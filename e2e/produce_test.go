package e2e

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// produce writes a record past all checks, as a foreign producer could: up to the
// size that the topic takes.
func (p *pulse) produce(topic, key, value string) {
	p.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.address("KAFKA_BROKERS")), kgo.ProducerBatchMaxBytes(event.TopicBatch))
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}
