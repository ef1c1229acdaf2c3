package aggregate

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

// What is opened before a step that fails is closed again: connections and their
// goroutines.
func TestOpeningThatFailsLeavesNothingOpen(t *testing.T) {
	const nobody = "127.0.0.1:1"
	whole := Config{Pipeline: serve.Pipeline{Kafka: kafka.Config{Brokers: []string{nobody}}, Registry: "http://" + nobody}, Redis: "redis://" + nobody}
	badRegistry, badRedis, badKafka := whole, whole, whole
	badRegistry.Registry = "ftp://x"
	badRedis.Redis = "ftp://x"
	badKafka.Kafka.Brokers = []string{"127.0.0.1:none"}
	for want, open := range map[string]func() error{
		"SCHEMA_REGISTRY_URL": func() error { _, _, err := newDrain(badRegistry, kafka.Bounds{}, cacheLimits{}); return err },
		"REDIS_URL":           func() error { _, _, err := newDrain(badRedis, kafka.Bounds{}, cacheLimits{}); return err },
		"kafka producer":      func() error { _, _, err := newDrain(badKafka, kafka.Bounds{}, cacheLimits{}); return err },
		"list the ends of": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			return Drain(ctx, map[string]string{"KAFKA_BROKERS": nobody, "SCHEMA_REGISTRY_URL": whole.Registry, "REDIS_URL": whole.Redis}, nil)
		},
	} {
		servetest.FailsAndLeavesNothingOpen(t, want, open)
	}
}

func TestConfigurationReportsAllInvalidAddressesAtOnce(t *testing.T) {
	_, err := serve.Load[Config](t.Context(), map[string]string{"KAFKA_BROKERS": "127.0.0.1:none", "SCHEMA_REGISTRY_URL": "ftp://x", "REDIS_URL": "ftp://x"})
	for _, variable := range []string{"KAFKA_BROKERS", "SCHEMA_REGISTRY_URL", "REDIS_URL"} {
		if err == nil || strings.Count(err.Error(), variable) != 1 {
			t.Errorf("%v, want one fault in %s", err, variable)
		}
	}
}
