package github

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// queryMetrics are what a client measures of its queries, by their shape.
type queryMetrics struct {
	width, seconds *prometheus.HistogramVec
	points         *prometheus.CounterVec
}

func newQueryMetrics() *queryMetrics {
	query := []string{"query"}
	return &queryMetrics{
		width: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "m7pulse_github_page_width", Help: "Repositories that one query asks for.", Buckets: []float64{1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100},
		}, query),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "m7pulse_github_query_seconds", Help: "Seconds until GitHub has answered a query, or has not.", Buckets: []float64{.1, .2, .5, 1, 2, 3, 4.5, 5, 7, 8.5, 10, 11},
		}, query),
		points: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m7pulse_github_points_total", Help: "Points that queries have cost."}, query),
	}
}

func (m *queryMetrics) asked(q question, took time.Duration, points int64) {
	m.width.WithLabelValues(q.shape.name).Observe(float64(q.n))
	m.seconds.WithLabelValues(q.shape.name).Observe(took.Seconds())
	m.points.WithLabelValues(q.shape.name).Add(float64(points))
}

// Metrics are what the client measures of its queries, and of the budgets.
func (g *Client) Metrics() []prometheus.Collector {
	return append(g.budgets.Metrics(), g.measured.width, g.measured.seconds, g.measured.points)
}
