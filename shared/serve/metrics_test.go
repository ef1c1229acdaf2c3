package serve_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// receive is a fake server of OTLP, and what it is sent by name.
func receive(t *testing.T) (address string, sent <-chan map[string]*otlp.Metric) {
	t.Helper()
	all := make(chan map[string]*otlp.Metric, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var q collector.ExportMetricsServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &q)
		}
		if err != nil {
			t.Error(err)
		}
		byName := map[string]*otlp.Metric{}
		for _, m := range q.ResourceMetrics[0].ScopeMetrics[0].Metrics {
			byName[m.Name] = m
		}
		all <- byName
	}))
	t.Cleanup(receiver.Close)
	return receiver.URL, all
}

// A job is seldom long enough for a minute's sending: all that it measured is sent at its end.
func TestAJobHasSentWhatItMeasured(t *testing.T) {
	receiver, sent := receive(t)
	i := serve.New("test", func(context.Context, map[string]string) (serve.Function, error) {
		return nil, errors.New("a job does not open the function")
	})
	err := i.Do(t.Context(), map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver, "OTEL_TRACES_EXPORTER": "none"}, func(_ context.Context, _ map[string]string, measure serve.Measure) error {
		blocks := prometheus.NewCounter(prometheus.CounterOpts{Name: "m7pulse_blocks_total", Help: "Of the job."})
		measure(blocks)
		blocks.Add(3)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case all := <-sent:
		points := all["m7pulse_blocks_total"].GetSum().GetDataPoints()
		if len(points) != 1 || points[0].GetAsDouble() != 3 || points[0].Attributes[0].Value.GetStringValue() != "test" {
			t.Errorf("what the job measured: %v", points)
		}
	default:
		t.Error("it has ended, and has sent nothing")
	}
}

// A function that is scaled to zero leaves no metric behind: what it did last is sent by
// the time it has stopped, with what its status says then.
func TestAFunctionThatStopsHasSentItsMetrics(t *testing.T) {
	receiver, sent := receive(t)
	f := &fn{gauges: []serve.Gauge{{Name: "breaker", Help: "Of the drain.", Value: 3}}}
	i := serve.New("test", func(context.Context, map[string]string) (serve.Function, error) { return f, nil })
	if err := i.Start(t.Context(), map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver, "OTEL_TRACES_EXPORTER": "none"}); err != nil {
		t.Fatal(err)
	}
	count := func(all map[string]*otlp.Metric) (by map[string]uint64) {
		by = map[string]uint64{}
		for _, p := range all["m7pulse_event_seconds"].GetHistogram().GetDataPoints() {
			for _, a := range p.Attributes {
				if a.Key == "status" {
					by[a.Value.GetStringValue()] += p.Count
				}
			}
		}
		return by
	}
	i.Handle(httptest.NewRecorder(), binary(`{}`))
	select {
	case all := <-sent:
		if count(all)["204"] != 1 {
			t.Errorf("after an event: %v", all["m7pulse_event_seconds"])
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is sent at the end of an event")
	}
	f.err = errors.New("later")
	i.Handle(httptest.NewRecorder(), binary(`{}`))
	if err := i.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case all := <-sent:
		if by := count(all); by["204"] != 1 || by["503"] != 1 {
			t.Errorf("events by status: %v", by)
		}
		if cold := all["m7pulse_cold_starts_total"].GetSum(); cold == nil || cold.DataPoints[0].GetAsDouble() != 1 {
			t.Errorf("cold starts: %v", cold)
		}
		if g := all["m7pulse_breaker"].GetGauge(); g == nil || g.DataPoints[0].GetAsDouble() != 3 {
			t.Errorf("of the status: %v", g)
		}
	default:
		t.Error("it has stopped, and has sent nothing")
	}
}
