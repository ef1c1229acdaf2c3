package event_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// traced switches tracing on for a test: spans go nowhere.
func traced(t testing.TB) {
	otel.SetTracerProvider(sdktrace.NewTracerProvider())
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
}

func TestARecordCarriesThePlaceItWasProducedInAndNothingElseChanges(t *testing.T) {
	traced(t)
	ctx, span := trace.Start(t.Context(), trace.Producer, "publish")
	defer span.End(nil)
	hook := &event.Tracer{}
	for range 2 {
		r := &kgo.Record{Context: ctx, Topic: "t", Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("1")}}}
		hook.OnProduceRecordBuffered(r)
		p := trace.PlaceOf(ctx)
		want := "00-" + p.TraceID().String() + "-" + p.SpanID().String() + "-01"
		if got := event.Header(r, "ce_traceparent"); got != want {
			t.Errorf("ce_traceparent %q, want %q", got, want)
		}
		if !bytes.Equal(r.Key, []byte("k")) || !bytes.Equal(r.Value, []byte("v")) || len(r.Headers) != 2 || event.Header(r, "ce_id") != "1" {
			t.Errorf("%+v", r)
		}
		hook.OnProduceRecordBuffered(r)
		if len(r.Headers) != 2 {
			t.Errorf("a record that has a place was given another: %v", r.Headers)
		}
		places := event.PlacesOf([]*kgo.Record{{}, r, {Headers: []kgo.RecordHeader{{Key: "ce_traceparent", Value: []byte("nonsense")}}}, r})
		if len(places) != 1 || places[0].SpanID() != p.SpanID() {
			t.Errorf("places %v, want %v once", places, p)
		}
	}
}

func TestARecordOutsideOfATraceIsLeftAsItIsWithoutAnAllocation(t *testing.T) {
	hook := &event.Tracer{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &kgo.Record{Context: ctx}
	if n := testing.AllocsPerRun(100, func() { hook.OnProduceRecordBuffered(r) }); n != 0 || len(r.Headers) != 0 {
		t.Errorf("%v allocations, headers %v", n, r.Headers)
	}
}

func TestAnEventComesFromThePlaceOfItsExtensionElseOfItsRequest(t *testing.T) {
	const inEvent, inRequest = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
	header := http.Header{"Traceparent": {inRequest}}
	e := cloudevents.NewEvent()
	span := func() string { return event.PlaceOfEvent(e, header).SpanID().String() }
	if got := span(); !strings.Contains(inRequest, got) {
		t.Errorf("without the extension: %s", got)
	}
	e.SetExtension("traceparent", inEvent)
	if got := span(); !strings.Contains(inEvent, got) {
		t.Errorf("with it: %s", got)
	}
	e.SetExtension("traceparent", "00-nonsense")
	header = nil
	if p := event.PlaceOfEvent(e, header); p.IsValid() {
		t.Errorf("nonsense is a place: %v", p)
	}
}

func BenchmarkRecordOutsideOfATrace(b *testing.B) {
	hook, r := &event.Tracer{}, &kgo.Record{Context: b.Context()}
	b.ReportAllocs()
	for b.Loop() {
		hook.OnProduceRecordBuffered(r)
	}
}

func BenchmarkRecordWithinATrace(b *testing.B) {
	traced(b)
	ctx, span := trace.Start(b.Context(), trace.Producer, "publish")
	defer span.End(nil)
	hook, r := &event.Tracer{}, &kgo.Record{Context: ctx, Headers: make([]kgo.RecordHeader, 7, 8)}
	b.ReportAllocs()
	for b.Loop() {
		r.Headers = r.Headers[:7]
		hook.OnProduceRecordBuffered(r)
	}
}
