package sinkclickhouse

import (
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

// What is opened before a step that fails is closed again: connections and their
// goroutines.
func TestOpeningThatFailsLeavesNothingOpen(t *testing.T) {
	const nobody = "127.0.0.1:1"
	whole := Config{Sink: serve.Sink{Pipeline: serve.Pipeline{Kafka: kafka.Config{Brokers: []string{nobody}}, Registry: "http://" + nobody}}, ClickHouse: "http://" + nobody, Redis: "redis://" + nobody}
	badRegistry, badStore, badRedis, badKafka := whole, whole, whole, whole
	badRegistry.Registry = "ftp://x"
	badStore.ClickHouse = "http://no host"
	badRedis.Redis = "ftp://x"
	badKafka.Kafka.Brokers = []string{"127.0.0.1:none"}
	draining := func(cfg Config) func() error {
		return func() error { _, err := newDraining(cfg, kafka.Bounds{Records: 1, Bytes: 1}, 0); return err }
	}
	for _, c := range []struct {
		want string
		open func() error
	}{
		{"SCHEMA_REGISTRY_URL", draining(badRegistry)},
		{"CLICKHOUSE_URL", draining(badStore)},
		{"REDIS_URL", draining(badRedis)},
		{"kafka producer", draining(badKafka)},
		{"CLICKHOUSE_URL", func() error { _, err := OpenDraft(badStore.ClickHouse, whole.Redis); return err }},
		{"REDIS_URL", func() error { _, err := OpenDraft(whole.ClickHouse, badRedis.Redis); return err }},
	} {
		servetest.FailsAndLeavesNothingOpen(t, c.want, c.open)
	}
}

func TestInvalidAddressOfClickHouseIsRefusedByTheConfiguration(t *testing.T) {
	const password = "s3cret"
	for _, address := range []string{
		"ftp://x", "ftp://user:" + password + "@x", "x:8123", "http://", "http://:8123", "http://host:none", "http://user:" + password + "@host:0",
		"clickhouse://host:65536", "clickhouse://a:9000,b:none", "http://user:" + password + "@no host", "http://a:%zz" + password + "@host", "http://host?dial_timeout=" + password,
	} {
		_, err := serve.Load[Config](t.Context(), map[string]string{"CLICKHOUSE_URL": address})
		if err == nil || strings.Count(err.Error(), "CLICKHOUSE_URL") != 1 || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v, want one fault in CLICKHOUSE_URL that does not quote it", address, err)
		}
	}
	for _, address := range []string{
		"http://127.0.0.1:8123", "https://user:p%23@host", "clickhouse://user:p@host:9000?secure=true", "tcp://host:9000", "clickhouse://a:9000,b:9000", "http://[::1]:8123",
	} {
		if _, err := serve.Load[Config](t.Context(), map[string]string{"CLICKHOUSE_URL": address}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}
