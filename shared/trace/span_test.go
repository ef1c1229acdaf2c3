package trace_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/m7pulse/m7pulse/shared/trace"
)

func TestALineThatIsLoggedWithinATraceNamesIt(t *testing.T) {
	otel.SetTracerProvider(sdktrace.NewTracerProvider())
	defer otel.SetTracerProvider(noop.NewTracerProvider())
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
