package telemetry_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metricscollector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecollector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlpmetrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	otlpresource "go.opentelemetry.io/proto/otlp/resource/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/m7pulse/m7pulse/shared/telemetry"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// receiver is a fake server of OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*otlp.Span
	metrics [][]*otlpmetrics.Metric // by request
	from    []map[string]string     // the attributes of each resource
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		switch q.URL.Path {
		case "/v1/traces":
			var sent tracecollector.ExportTraceServiceRequest
			if err := proto.Unmarshal(body, &sent); err != nil {
				t.Error(err)
			}
			for _, of := range sent.ResourceSpans {
				r.sender(of.Resource)
				for _, s := range of.ScopeSpans {
					r.spans = append(r.spans, s.Spans...)
				}
			}
		case "/v1/metrics":
			var sent metricscollector.ExportMetricsServiceRequest
			if err := proto.Unmarshal(body, &sent); err != nil {
				t.Error(err)
			}
			for _, of := range sent.ResourceMetrics {
				r.sender(of.Resource)
				for _, s := range of.ScopeMetrics {
					r.metrics = append(r.metrics, s.Metrics)
				}
			}
		default:
			t.Errorf("%s is asked for", q.URL)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) sender(of *otlpresource.Resource) {
	attributes := map[string]string{}
	for _, a := range of.Attributes {
		attributes[a.Key] = a.Value.GetStringValue()
	}
	r.from = append(r.from, attributes)
}

// sendings is how often metrics have come.
func (r *receiver) sendings() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.metrics)
}

// open has the test process send to an endpoint.
func open(t *testing.T, endpoint string, of prometheus.Gatherer, more map[string]string) *telemetry.Sender {
	t.Helper()
	environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
	maps.Copy(environ, more)
	s, err := telemetry.Open(t.Context(), "test", of, environ)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func counter() (*prometheus.Registry, prometheus.Counter) {
	of, c := prometheus.NewRegistry(), prometheus.NewCounter(prometheus.CounterOpts{Name: "m7pulse_things_total", Help: "Things.", ConstLabels: prometheus.Labels{"function": "test"}})
	of.MustRegister(c)
	return of, c
}

func TestSpansAndMetricsAreSentWhenTheProcessEnds(t *testing.T) {
	r := newReceiver(t)
	of, things := counter()
	s := open(t, r.URL, of, nil)
	ctx, outer := trace.Start(t.Context(), trace.Internal, "outer", "records", 3)
	_, inner := trace.Start(ctx, trace.Client, "inner")
	inner.End(io.ErrUnexpectedEOF)
	outer.End(nil)
	things.Add(7)
	s.Close(t.Context())
	if len(r.spans) != 2 || len(r.metrics) != 1 {
		t.Fatalf("%d spans, metrics of %d requests", len(r.spans), len(r.metrics))
	}
	if a, b := r.from[0], r.from[1]; a["service.name"] != "test" || a["service.instance.id"] == "" || a["service.instance.id"] != b["service.instance.id"] {
		t.Errorf("spans and metrics are of %v and %v", a, b)
	} else if version, ok := a["service.version"]; !ok || version != b["service.version"] {
		t.Errorf("spans and metrics are of versions %q and %q", version, b["service.version"])
	}
	in, out := r.spans[0], r.spans[1]
	if in.Name != "inner" || !bytes.Equal(in.ParentSpanId, out.SpanId) || in.Status.Code != otlp.Status_STATUS_CODE_ERROR || in.Status.Message != "unexpected EOF" {
		t.Errorf("%v", in)
	}
	if len(out.ParentSpanId) != 0 || out.Attributes[0].Key != "records" || out.Attributes[0].Value.GetIntValue() != 3 {
		t.Errorf("%v", out)
	}
	if trace.On() {
		t.Error("traces are on after their end")
	}
	m := r.metrics[0][0]
	sum := m.GetSum()
	if m.Name != "m7pulse_things_total" || m.Description != "Things." || sum == nil || !sum.IsMonotonic || sum.DataPoints[0].GetAsDouble() != 7 ||
		sum.DataPoints[0].Attributes[0].Key != "function" || sum.DataPoints[0].Attributes[0].Value.GetStringValue() != "test" {
		t.Errorf("%v", m)
	}
}

// A process that is killed loses what it has not sent: what it did before Push is sent
// without a wait for the next minute, however often it is asked for.
func TestMetricsAreSentSoonAfterTheyAreAskedForAndNotForEachAsking(t *testing.T) {
	r := newReceiver(t)
	of, things := counter()
	s := open(t, r.URL, of, map[string]string{"OTEL_TRACES_EXPORTER": "none"})
	defer s.Close(t.Context())
	if trace.On() {
		t.Error("traces are on")
	}
	things.Inc()
	for range 1_000 {
		s.Push()
	}
	for deadline := time.Now().Add(10 * time.Second); r.sendings() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was sent")
		}
	}
	time.Sleep(100 * time.Millisecond)
	if n := r.sendings(); n != 1 {
		t.Errorf("sent %d times at once", n)
	}
}

func TestNothingIsSentUnlessTheEnvironmentSaysWhereTo(t *testing.T) {
	for _, environ := range []map[string]string{
		nil,
		{"OTEL_SERVICE_NAME": "x"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
	} {
		s, err := telemetry.Open(t.Context(), "test", prometheus.NewRegistry(), environ)
		if err != nil || !reflect.DeepEqual(*s, telemetry.Sender{}) || trace.On() {
			t.Errorf("%v: on, or %v", environ, err)
		}
		s.Push()
		s.Close(t.Context())
	}
}

func TestAFaultOfTheConfigurationNamesItsVariable(t *testing.T) {
	for variable, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT":         "grpc://somewhere",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":  "somewhere",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "somewhere",
		"OTEL_TRACES_EXPORTER":                "zipkin",
		"OTEL_METRICS_EXPORTER":               "prometheus",
		"OTEL_EXPORTER_OTLP_PROTOCOL":         "grpc",
		"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json",
	} {
		environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
		environ[variable] = value
		if _, err := telemetry.Open(t.Context(), "test", prometheus.NewRegistry(), environ); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s=%s: %v", variable, value, err)
		}
	}
}

// Neither a receiver that does not answer nor one that is away may be noticed by the
// work that is traced, nor by the end of the process.
func TestAReceiverThatHangsOrIsAwayDelaysNothing(t *testing.T) {
	hangs := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	defer hanging.Close()
	defer close(hangs)
	for name, endpoint := range map[string]string{"hangs": hanging.URL, "away": "http://127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			of, _ := counter()
			s := open(t, endpoint, of, nil)
			began := time.Now()
			for range 6_000 { // three times what the queue holds: one that waited would take half a minute
				_, work := trace.Start(t.Context(), trace.Internal, "work")
				work.End(nil)
				s.Push()
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("6,000 spans took %s", took)
			}
			began = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			s.Close(ctx)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("the end took %s, with 300 ms to do so", took)
			}
		})
	}
}
