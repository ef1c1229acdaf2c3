package knative

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkSource measures posts to an instant function in a process of its
// own. Broker and source share one.
func BenchmarkSource(b *testing.B) {
	cfg, producer := broker(b)
	for i := range b.N {
		producer.Produce(b.Context(), record(i), func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := producer.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	f := run(b, "plain", nil)
	f.get("/") // the start is not measured here
	b.ReportAllocs()
	b.ResetTimer()
	s := begin(b, Config{Kafka: cfg}, f.post)
	for s.delivered.Load() < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "posts/s")
}
