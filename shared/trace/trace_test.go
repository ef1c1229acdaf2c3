package trace_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/m7pulse/m7pulse/shared/trace"
)

// receiver is a fake server of OTLP over HTTP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*otlp.Span
	from  []string // the services
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		var sent collector.ExportTraceServiceRequest
		body, err := io.ReadAll(q.Body)
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || q.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", q.URL, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, rs := range sent.ResourceSpans {
			for _, a := range rs.Resource.Attributes {
				if a.Key == "service.name" {
					r.from = append(r.from, a.Value.GetStringValue())
				}
			}
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// open switches tracing on for a test.
func open(t *testing.T, endpoint string) (close func(context.Context)) {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	close, err := trace.Open(t.Context(), "test", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
	if err != nil {
		t.Fatal(err)
	}
	return close
}

func TestSpansThatHaveEndedAreSentWhenTheProcessEnds(t *testing.T) {
	r := newReceiver(t)
	close := open(t, r.URL)
	ctx, outer := trace.Start(t.Context(), trace.Internal, "outer", "records", 3)
	_, inner := trace.Start(ctx, trace.Client, "inner")
	inner.End(io.ErrUnexpectedEOF)
	outer.End(nil)
	close(t.Context())
	if len(r.spans) != 2 || r.from[0] != "test" {
		t.Fatalf("%d spans of %v", len(r.spans), r.from)
	}
	in, out := r.spans[0], r.spans[1]
	if in.Name != "inner" || !bytes.Equal(in.ParentSpanId, out.SpanId) || in.Status.Code != otlp.Status_STATUS_CODE_ERROR || in.Status.Message != "unexpected EOF" {
		t.Errorf("%v", in)
	}
	if len(out.ParentSpanId) != 0 || out.Attributes[0].Key != "records" || out.Attributes[0].Value.GetIntValue() != 3 {
		t.Errorf("%v", out)
	}
	if trace.On() {
		t.Error("tracing is on after its end")
	}
}

func TestTracingIsOffUnlessTheEnvironmentSaysWhereTo(t *testing.T) {
	for _, environ := range []map[string]string{
		nil,
		{"OTEL_SERVICE_NAME": "x"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
	} {
		close, err := trace.Open(t.Context(), "test", environ)
		if err != nil || trace.On() {
			t.Errorf("%v: on, or %v", environ, err)
		}
		close(t.Context())
	}
}

func TestAFaultOfTheConfigurationNamesItsVariable(t *testing.T) {
	for variable, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT":        "grpc://somewhere",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "somewhere",
		"OTEL_TRACES_EXPORTER":               "zipkin",
		"OTEL_EXPORTER_OTLP_PROTOCOL":        "grpc",
	} {
		environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
		environ[variable] = value
		if _, err := trace.Open(t.Context(), "test", environ); err == nil || !strings.Contains(err.Error(), variable) {
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
			end := open(t, endpoint)
			began := time.Now()
			for range 6_000 { // three times what the queue holds: one that waited would take half a minute
				_, s := trace.Start(t.Context(), trace.Internal, "work")
				s.End(nil)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("6,000 spans took %s", took)
			}
			began = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			end(ctx)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("the end took %s, with 300 ms to do so", took)
			}
		})
	}
}

func TestALineThatIsLoggedWithinATraceNamesIt(t *testing.T) {
	defer open(t, newReceiver(t).URL)(t.Context())
	var text bytes.Buffer
	log := slog.New(trace.LogHandler(slog.NewTextHandler(&text, nil))).With("a", 1)
	ctx, span := trace.Start(t.Context(), trace.Internal, "work")
	defer span.End(nil)
	log.InfoContext(ctx, "within")
	log.Info("outside")
	lines := strings.Split(text.String(), "\n")
	p := trace.PlaceOf(ctx)
	if !strings.Contains(lines[0], "trace_id="+p.TraceID().String()+" span_id="+p.SpanID().String()) || strings.Contains(lines[1], "trace_id") {
		t.Errorf("%s", &text)
	}
}

func BenchmarkSpanWhileTracingIsOff(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, s := trace.Start(b.Context(), trace.Internal, "work")
		s.End(nil)
	}
}
