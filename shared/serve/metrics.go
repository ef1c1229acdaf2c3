package serve

import (
	"maps"
	"net/http"
	"slices"
	"sync/atomic"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Gauge is one figure of GET /metrics.
type Gauge struct {
	Name   string // without the prefix m7pulse_
	Help   string // the same for each gauge of a name
	Labels map[string]string
	Value  float64
}

// Gauges are figures as a collector of Prometheus.
type Gauges []Gauge

// Describe names no metric: which there are is known when they are asked for only.
func (Gauges) Describe(chan<- *prometheus.Desc) {}

// Collect sends each figure.
func (all Gauges) Collect(to chan<- prometheus.Metric) {
	for _, g := range all {
		var names, values []string
		for _, name := range slices.Sorted(maps.Keys(g.Labels)) {
			names, values = append(names, name), append(values, g.Labels[name])
		}
		desc := prometheus.NewDesc("m7pulse_"+g.Name, g.Help, names, nil)
		metric, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, g.Value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		to <- metric
	}
}

// metrics are those of a function and its process. Each is defined once, as one of
// Prometheus: GET /metrics and OTLP show the same.
type metrics struct {
	name     string
	of       atomic.Pointer[Part] // the function, once it was opened; it stays after its end
	registry *prometheus.Registry
	handler  http.Handler // of GET /metrics

	coldStarts prometheus.Counter
	events     *prometheus.HistogramVec
	requests   *prometheus.HistogramVec
}

// newMetrics returns those of a function that is not open yet.
func newMetrics(name string) *metrics {
	of := prometheus.Labels{"function": name}
	seconds := []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 20}
	m := &metrics{
		name: name, registry: prometheus.NewRegistry(),
		coldStarts: prometheus.NewCounter(prometheus.CounterOpts{Name: "m7pulse_cold_starts_total", Help: "Requests that were the first of their process.", ConstLabels: of}),
		events: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "m7pulse_event_seconds", Help: "Seconds until an event was answered, by its kind (bell, tick, other) and the status of the answer.", ConstLabels: of, Buckets: seconds,
		}, []string{"kind", "status"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "m7pulse_request_seconds", Help: "Seconds until a request that is no event was answered, by its method and the status of the answer.", ConstLabels: of, Buckets: seconds,
		}, []string{"method", "code"}),
	}
	m.registry.MustRegister(m, m.coldStarts, m.events, m.requests, collectors.NewGoCollector(), collectors.NewBuildInfoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// The kinds of events.
const (
	kindBell  = "bell"
	kindTick  = "tick"
	kindOther = "other"
)

func kindOf(e cloudevents.Event) string {
	if _, bell := BellTopic(e); bell {
		return kindBell
	}
	if e.Type() == event.TypeTick {
		return kindTick
	}
	return kindOther
}

// Describe names no metric: which there are is known from the status only.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends those of the function's status.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	fn := m.of.Load()
	if fn == nil {
		return
	}
	s := (*fn).Status()
	failing := 0.0
	if s.Failing != "" {
		failing = 1
	}
	known := Gauges(append(s.Gauges, Gauge{Name: "failing", Help: "1 while the function's last attempt failed.", Value: failing}))
	for _, c := range append(s.Metrics, known) {
		prometheus.WrapCollectorWith(prometheus.Labels{"function": m.name}, c).Collect(to)
	}
}
