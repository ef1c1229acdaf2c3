package serve

import (
	"maps"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Gauge is one figure of GET /metrics.
type Gauge struct {
	Name   string // without the prefix m7pulse_
	Help   string // the same for each gauge of a name
	Labels map[string]string
	Value  float64
}

// gauges collects a function's gauges from its status when they are asked for.
type gauges struct{ of *Instance }

// Describe names no metric: which there are is known from the status only.
func (gauges) Describe(chan<- *prometheus.Desc) {}

func (g gauges) Collect(metrics chan<- prometheus.Metric) {
	fn := g.of.fn.Load()
	if fn == nil {
		return
	}
	s := (*fn).Status()
	failing := 0.0
	if s.Failing != "" {
		failing = 1
	}
	for _, v := range append(s.Gauges, Gauge{Name: "failing", Help: "1 while the function's last attempt failed.", Value: failing}) {
		names := slices.Sorted(maps.Keys(v.Labels))
		values := []string{g.of.name}
		for _, name := range names {
			values = append(values, v.Labels[name])
		}
		desc := prometheus.NewDesc("m7pulse_"+v.Name, v.Help, append([]string{"function"}, names...), nil)
		metric, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, v.Value, values...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(desc, err)
		}
		metrics <- metric
	}
}

// metrics serves a function's gauges, and those of its process.
func metrics(i *Instance) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(gauges{i}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}
