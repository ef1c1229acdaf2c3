package kafka_test

import (
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

func TestInvalidBrokerIsRefused(t *testing.T) {
	for _, b := range []string{"127.0.0.1:none", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1", ":9092", "127.0.0.1:", "a:9092:9092", "::1:9092", "kafka://a:9092", ""} {
		err := kafka.Config{Brokers: []string{"127.0.0.1:9092", b}}.Validate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "KAFKA_BROKERS") || strings.Count(err.Error(), "want host:port") != 1 {
			t.Errorf("broker %q: %v", b, err)
		}
	}
	for _, b := range []string{"127.0.0.1:9092", "[::1]:9092", "kafka-0.kafka.svc:1", "a:65535"} {
		if err := (kafka.Config{Brokers: []string{b}}).Validate(t.Context()); err != nil {
			t.Errorf("broker %q: %v", b, err)
		}
	}
}
