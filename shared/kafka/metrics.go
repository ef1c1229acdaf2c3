package kafka

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// blockMetrics are what a drain measures of its blocks, by the topic that it reads.
type blockMetrics struct {
	records, seconds *prometheus.HistogramVec
	failures         *prometheus.CounterVec
}

func newBlockMetrics() *blockMetrics {
	topic := []string{"topic"}
	return &blockMetrics{
		records: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "m7pulse_block_records", Help: "Records of a block that was committed.", Buckets: prometheus.ExponentialBuckets(1, 4, 11), // to 1,048,576
		}, topic),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "m7pulse_block_seconds", Help: "Seconds from when a block was gathered until it was committed. Its count is that of the commits.", Buckets: []float64{.003, .01, .03, .1, .2, .5, 1, 2, 5, 10, 20, 60, 300},
		}, topic),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m7pulse_block_failures_total", Help: "Blocks that failed; each is tried again."}, topic),
	}
}

func (m *blockMetrics) committed(topic string, records int, took time.Duration) {
	m.records.WithLabelValues(topic).Observe(float64(records))
	m.seconds.WithLabelValues(topic).Observe(took.Seconds())
}

func (m *blockMetrics) failed(topic string) { m.failures.WithLabelValues(topic).Inc() }

// Metrics are what the drain measures of its blocks.
func (d *Drain) Metrics() []prometheus.Collector {
	return []prometheus.Collector{d.blocks.records, d.blocks.seconds, d.blocks.failures}
}
