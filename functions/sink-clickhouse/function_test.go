package sinkclickhouse

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// What is opened before a step that fails is closed again: connections and their
// goroutines.
func TestOpeningThatFailsLeavesNothingOpen(t *testing.T) {
	const nobody = "127.0.0.1:1"
	whole := Config{Kafka: kafka.Config{Brokers: []string{nobody}}, Registry: "http://" + nobody, ClickHouse: "http://" + nobody, Redis: "redis://" + nobody}
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
		before := goleak.IgnoreCurrent()
		if err := c.open(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want a fault in %s", err, c.want)
		}
		for deadline := time.Now().Add(5 * time.Second); ; {
			err := goleak.Find(before)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: %.300s", c.want, err)
				break
			}
		}
	}
}
