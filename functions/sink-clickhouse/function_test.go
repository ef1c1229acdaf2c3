package sinkclickhouse

import (
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// producers counts the goroutines of this process that belong to clients of Kafka.
func producers() int {
	var all strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&all, 2) // into memory
	return strings.Count(all.String(), "franz-go/pkg/kgo.NewClient")
}

func TestDrainingThatCannotBeMadeLeavesNothingOpen(t *testing.T) {
	before := producers()
	_, err := newDraining(Config{
		Kafka: kafka.Config{Brokers: []string{"127.0.0.1:1"}}, Registry: "http://127.0.0.1:1", ClickHouse: "http://127.0.0.1:1", Redis: "ftp://x",
	}, kafka.Bounds{Records: 1, Bytes: 1}, 0)
	if err == nil || !strings.Contains(err.Error(), "REDIS_URL") {
		t.Fatalf("%v, want a fault in REDIS_URL", err)
	}
	for deadline := time.Now().Add(5 * time.Second); producers() > before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines of Kafka's clients are left, of %d before", producers(), before)
		}
	}
}
