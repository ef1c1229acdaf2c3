package event

import (
	"context"
	"net/http"
	"sync/atomic"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/m7pulse/m7pulse/shared/trace"
)

// The attributes of CloudEvents' extension for distributed tracing, in W3C's form: the
// place in a trace that an event comes from. Nothing that is stored follows from them.
const (
	ExtTraceparent = "traceparent"
	ExtTracestate  = "tracestate"
)

// PlaceOfEvent is where in a trace an event comes from: that of its extension, or, of
// one without, that of the request that brought it.
func PlaceOfEvent(e cloudevents.Event, header http.Header) trace.Place {
	extensions := e.Extensions()
	carrier := propagation.MapCarrier{}
	for _, name := range []string{ExtTraceparent, ExtTracestate} {
		if value, ok := extensions[name].(string); ok {
			carrier[name] = value
		}
	}
	if p := placeOf(carrier); p.IsValid() {
		return p
	}
	return PlaceOfRequest(header)
}

// PlaceOfRequest is where in a trace a request comes from.
func PlaceOfRequest(header http.Header) trace.Place {
	return placeOf(propagation.HeaderCarrier(header))
}

func placeOf(carrier propagation.TextMapCarrier) trace.Place {
	return trace.PlaceOf(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// recordCarrier reads the extension from the headers of a record.
type recordCarrier struct{ *kgo.Record }

func (c recordCarrier) Get(name string) string { return Header(c.Record, "ce_"+name) }
func (recordCarrier) Set(string, string)       {}
func (recordCarrier) Keys() []string           { return nil }

// maxPlaces bounds the places that a block of records is said to come from.
const maxPlaces = 1_000

// PlacesOf returns where in traces records come from: each place once, in the order of
// the records, at most 1,000.
func PlacesOf(records []*kgo.Record) []trace.Place {
	var places []trace.Place
	seen := map[string]bool{}
	last := ""
	for _, r := range records {
		value := header(r, "ce_"+ExtTraceparent)
		if len(value) == 0 || string(value) == last {
			continue
		}
		last = string(value)
		if seen[last] {
			continue
		}
		seen[last] = true
		if p := placeOf(recordCarrier{r}); p.IsValid() {
			places = append(places, p)
		}
		if len(places) == maxPlaces {
			break
		}
	}
	return places
}

// Tracer is a hook of a Kafka client that gives each record the place in a trace of the
// context that it is produced with, if that trace is sent. A record that has one keeps
// it. It is safe for use by several goroutines.
type Tracer struct{ last atomic.Pointer[placed] }

// placed are the headers that say a place: those of many records in a row are the same.
type placed struct {
	place   trace.Place
	headers []kgo.RecordHeader
}

// OnProduceRecordBuffered implements kgo.HookProduceRecordBuffered.
func (t *Tracer) OnProduceRecordBuffered(r *kgo.Record) {
	p := trace.PlaceOf(r.Context)
	if !p.IsSampled() || len(header(r, "ce_"+ExtTraceparent)) > 0 {
		return
	}
	last := t.last.Load()
	if last == nil || !last.place.Equal(p) {
		last = &placed{p, headersOfPlace(p)}
		t.last.Store(last)
	}
	r.Headers = append(r.Headers, last.headers...)
}

func headersOfPlace(p trace.Place) (headers []kgo.RecordHeader) {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(oteltrace.ContextWithSpanContext(context.Background(), p), carrier)
	for _, name := range []string{ExtTraceparent, ExtTracestate} {
		if value := carrier[name]; value != "" {
			headers = append(headers, kgo.RecordHeader{Key: "ce_" + name, Value: []byte(value)})
		}
	}
	return headers
}
