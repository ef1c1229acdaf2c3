// Package trace is how a process of M7 Pulse takes part in traces of OpenTelemetry:
// spans, each a piece of work, which are sent by OTLP over HTTP. No other package
// knows how they are sent.
//
// Tracing is off unless a standard variable says where to send to. Then a span costs
// some microseconds, and nothing runs in the background. Where it is on, spans wait in
// a bounded queue: no work waits for whoever receives them, and none fails with it.
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	otelnoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/m7pulse/m7pulse/shared/address"
)

// The standard variables by which tracing is switched on and off. The others of the
// OTLP exporter, the batch processor, the sampler and the resource count too.
const (
	endpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT"        // of all signals
	tracesVariable   = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" // of traces
	exporterVariable = "OTEL_TRACES_EXPORTER"               // otlp or none
	disabledVariable = "OTEL_SDK_DISABLED"
	protocolVariable = "OTEL_EXPORTER_OTLP_PROTOCOL"
	protocol         = "http/protobuf"
)

const (
	// delay is how long a span waits to be sent with others, unless
	// OTEL_BSP_SCHEDULE_DELAY says otherwise: what a process that is killed loses.
	delay = time.Second
	// exportLimit is how long one request may take, tries included.
	exportLimit = 5 * time.Second
	// maxLinks bounds the links of a span, unless OTEL_SPAN_LINK_COUNT_LIMIT does: a
	// block has one for each page that it holds.
	maxLinks = 1_000
	// complainEvery bounds how often it is logged that spans cannot be sent.
	complainEvery = time.Minute
)

// enabled says whether the environment switches tracing on.
func enabled(environ map[string]string) (bool, error) {
	if environ[disabledVariable] == "true" || environ[exporterVariable] == "none" {
		return false, nil
	}
	var faults []error
	if e := environ[exporterVariable]; e != "" && e != "otlp" {
		faults = append(faults, fmt.Errorf("%s: %q is not supported: want otlp or none", exporterVariable, e))
	}
	if environ[endpointVariable] == "" && environ[tracesVariable] == "" && environ[exporterVariable] == "" {
		return false, nil
	}
	for _, v := range []string{endpointVariable, tracesVariable} {
		if to := environ[v]; to != "" {
			if err := address.URL(to, "http", "https"); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", v, err))
			}
		}
	}
	if p := environ[protocolVariable]; p != "" && p != protocol {
		faults = append(faults, fmt.Errorf("%s: %q is not supported: want %s", protocolVariable, p, protocol))
	}
	return true, errors.Join(faults...)
}

// Open has the process send its spans, as those of a service, if the environment says
// so. The standard variables are read from environ where they decide whether, and from
// the process's own environment by OpenTelemetry's SDK.
//
// close sends what is left, within its context, and switches tracing off. What cannot
// be sent is dropped; that is logged, and no error.
func Open(ctx context.Context, service string, environ map[string]string) (close func(context.Context), err error) {
	on, err := enabled(environ)
	if err != nil {
		return nil, fmt.Errorf("configuration of traces: %w", err)
	}
	if !on {
		return func(context.Context) {}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
		Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 2 * time.Second, MaxElapsedTime: exportLimit,
	}))
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.namespace", "m7pulse")),
		resource.WithProcessPID(), resource.WithTelemetrySDK(), resource.WithFromEnv(),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("describe the sender of traces: %w", err), exporter.Shutdown(ctx))
	}
	batch := []sdktrace.BatchSpanProcessorOption{sdktrace.WithExportTimeout(exportLimit)}
	if os.Getenv("OTEL_BSP_SCHEDULE_DELAY") == "" {
		batch = append(batch, sdktrace.WithBatchTimeout(delay))
	}
	limits := sdktrace.NewSpanLimits()
	if os.Getenv("OTEL_SPAN_LINK_COUNT_LIMIT") == "" {
		limits.LinkCountLimit = maxLinks
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, batch...), sdktrace.WithResource(about), sdktrace.WithRawSpanLimits(limits))
	otel.SetErrorHandler(&complaints{})
	otel.SetTracerProvider(provider)
	return func(ctx context.Context) {
		otel.SetTracerProvider(otelnoop.NewTracerProvider())
		if err := provider.Shutdown(ctx); err != nil {
			slog.Warn("spans are dropped: they cannot be sent", "error", err)
		}
	}, nil
}

// complaints logs what goes wrong with sending, once a minute.
type complaints struct{ last atomic.Int64 }

func (c *complaints) Handle(err error) {
	now := time.Now().UnixNano()
	if last := c.last.Load(); now-last > int64(complainEvery) && c.last.CompareAndSwap(last, now) {
		slog.Warn("spans are dropped: they cannot be sent", "error", err)
	}
}
