package serve_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestAHandlersSpanIsWithinThatOfTheEventsSender(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
	defer otel.SetTracerProvider(noop.NewTracerProvider())
	f := &fn{}
	i := started(t, f)
	for _, post := range []struct {
		name, kind, body string
		err              error
	}{
		{"bell github.base_repos", "dev.m7pulse.bell.v1", "{}", nil},
		{"tick sweep", "dev.knative.sources.ping", `{"do":"sweep"}`, errors.New("no token")},
	} {
		f.err = post.err
		i.Handle(httptest.NewRecorder(), request("POST", post.body, "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", post.kind,
			"Content-Type", "application/json", "Ce-Traceparent", traceparent, "Ce-Kafkatopic", "github.base_repos.bells", "Ce-Knativekafkapartition", "0", "Ce-Knativekafkaoffset", "1"))
	}
	spans := recorder.Ended()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	for n, want := range []string{"bell github.base_repos", "tick sweep"} {
		s := spans[n]
		if s.Name() != want || !strings.Contains(traceparent, s.Parent().SpanID().String()) || s.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("span %q within %v of %v", s.Name(), s.Parent().SpanID(), s.SpanContext().TraceID())
		}
		cold := attribute.Bool("faas.coldstart", n == 0)
		if !strings.Contains(strings.Join(names(s.Attributes()), " "), string(cold.Key)+"="+cold.Value.String()) {
			t.Errorf("attributes %v, want %v", s.Attributes(), cold)
		}
	}
	if s := spans[1].Status(); s.Code != codes.Error || s.Description != "no token" {
		t.Errorf("status %v", s)
	}
}

func names(attributes []attribute.KeyValue) (all []string) {
	for _, a := range attributes {
		all = append(all, string(a.Key)+"="+a.Value.String())
	}
	return all
}
