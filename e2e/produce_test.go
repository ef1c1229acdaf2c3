package e2e

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// produce writes a record past all checks, as a foreign producer could.
func (p *pulse) produce(topic, value string) {
	p.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.address("KAFKA_BROKERS")))
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}
