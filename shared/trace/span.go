// Package trace is how a process of M7 Pulse takes part in traces of OpenTelemetry:
// spans, each a piece of work. Package telemetry sends them, unless it is off; then a
// span costs some nanoseconds.
package trace

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// scope names who makes the spans.
const scope = "github.com/m7pulse/m7pulse"

// Kind is what a span's work is to others.
type Kind = oteltrace.SpanKind

// The kinds of spans.
const (
	Internal = oteltrace.SpanKindInternal
	Server   = oteltrace.SpanKindServer   // answers a request
	Client   = oteltrace.SpanKindClient   // asks a server
	Producer = oteltrace.SpanKindProducer // writes records
	Consumer = oteltrace.SpanKindConsumer // processes records
)

// Place is where in a trace something has come from: the span that caused it.
type Place = oteltrace.SpanContext

// On says whether the process sends its spans.
func On() bool {
	_, on := otel.GetTracerProvider().(*sdktrace.TracerProvider)
	return on
}

// Span is a piece of work in a trace. The zero Span is none.
type Span struct{ of oteltrace.Span }

// Start begins a span within that of ctx. attributes are names and values in turn:
// texts, whole numbers, floating-point numbers, truth values, lists of texts, and
// durations, which become seconds. End ends it.
func Start(ctx context.Context, kind Kind, name string, attributes ...any) (context.Context, Span) {
	ctx, s := otel.Tracer(scope).Start(ctx, name, oteltrace.WithSpanKind(kind))
	span := Span{s}
	span.Set(attributes...)
	return ctx, span
}

// StartJoined begins a span that follows from several places: within the first, and
// linked to the others. Without any it begins a trace.
func StartJoined(ctx context.Context, kind Kind, name string, from []Place, attributes ...any) (context.Context, Span) {
	if len(from) == 0 {
		return Start(ctx, kind, name, attributes...)
	}
	links := make([]oteltrace.Link, len(from)-1)
	for i, p := range from[1:] {
		links[i].SpanContext = p
	}
	ctx, s := otel.Tracer(scope).Start(oteltrace.ContextWithRemoteSpanContext(ctx, from[0]), name, oteltrace.WithSpanKind(kind), oteltrace.WithLinks(links...))
	span := Span{s}
	span.Set(attributes...)
	return ctx, span
}

// Current is the span of ctx.
func Current(ctx context.Context) Span { return Span{oteltrace.SpanFromContext(ctx)} }

// origin is the key of the place that the current request has come from.
type origin struct{}

// Receive begins the span of a request that comes from a place.
func Receive(ctx context.Context, from Place, name string, attributes ...any) (context.Context, Span) {
	if from.IsValid() && On() {
		ctx = context.WithValue(oteltrace.ContextWithRemoteSpanContext(ctx, from), origin{}, from)
	}
	return Start(ctx, Server, name, attributes...)
}

// Beside returns ctx where the current request has come from: what follows is not
// within this request, but beside it, as the next part of the same work.
func Beside(ctx context.Context) context.Context {
	if from, ok := ctx.Value(origin{}).(Place); ok {
		return oteltrace.ContextWithRemoteSpanContext(ctx, from)
	}
	return ctx
}

// In returns ctx within a span that was begun elsewhere.
func (s Span) In(ctx context.Context) context.Context {
	if s.of == nil {
		return ctx
	}
	return oteltrace.ContextWithSpan(ctx, s.of)
}

// PlaceOf is where ctx is: not valid outside of a trace that is sent.
func PlaceOf(ctx context.Context) Place { return oteltrace.SpanContextFromContext(ctx) }

// On says whether the span is sent: attributes that are costly to find are for it only.
func (s Span) On() bool { return s.of != nil && s.of.IsRecording() }

// Set adds attributes, as Start takes them.
func (s Span) Set(attributes ...any) {
	if !s.On() {
		return
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		s.of.SetAttributes(attributeOf(attributes[i].(string), attributes[i+1]))
	}
}

func attributeOf(name string, value any) attribute.KeyValue {
	switch v := value.(type) {
	case string:
		return attribute.String(name, v)
	case int:
		return attribute.Int(name, v)
	case int64:
		return attribute.Int64(name, v)
	case float64:
		return attribute.Float64(name, v)
	case bool:
		return attribute.Bool(name, v)
	case time.Duration:
		return attribute.Float64(name, v.Seconds())
	case []string:
		return attribute.StringSlice(name, v)
	}
	return attribute.String(name, fmt.Sprint(value))
}

// End ends the span; err, if not nil, is what its work failed with.
func (s Span) End(err error) {
	if s.of == nil {
		return
	}
	if err != nil && s.of.IsRecording() {
		s.of.SetStatus(codes.Error, err.Error())
	}
	s.of.End()
}
