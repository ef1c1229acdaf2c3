// Package telemetry sends what a process of M7 Pulse tells of itself by OpenTelemetry's
// OTLP over HTTP: its spans, which package trace makes, and its metrics, which are those
// that it serves to Prometheus. No other package knows how they are sent.
//
// Each is off unless a standard variable says where to send to. Then nothing runs in
// the background. What is on waits in a bounded queue, or is gathered when it is sent:
// no work waits for whoever receives it, and none fails with it.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	otelnoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/m7pulse/m7pulse/shared/address"
)

// The standard variables by which sending is switched on and off. The others of the
// OTLP exporters, the batch processor, the periodic reader, the sampler and the resource
// count too.
const (
	disabledVariable = "OTEL_SDK_DISABLED"
	endpointVariable = "OTEL_EXPORTER_OTLP_ENDPOINT" // of all signals
	protocolVariable = "OTEL_EXPORTER_OTLP_PROTOCOL" // likewise
	protocol         = "http/protobuf"
)

// kind is a signal of OpenTelemetry, as it is called in the variables that are for it alone.
type kind string

const (
	spans   kind = "TRACES"
	metrics kind = "METRICS"
)

func (k kind) exporter() string { return "OTEL_" + string(k) + "_EXPORTER" } // otlp or none
func (k kind) endpoint() string { return "OTEL_EXPORTER_OTLP_" + string(k) + "_ENDPOINT" }
func (k kind) protocol() string { return "OTEL_EXPORTER_OTLP_" + string(k) + "_PROTOCOL" }

const (
	// delay is how long a span waits to be sent with others, unless
	// OTEL_BSP_SCHEDULE_DELAY says otherwise: what a process that is killed loses.
	delay = time.Second
	// pushPause is the least time between two sendings of metrics that Push asks for:
	// what a process that is killed after some work loses of it.
	pushPause = 5 * time.Second
	// exportLimit is how long one request may take, tries included.
	exportLimit = 5 * time.Second
	// The pauses between tries.
	firstRetry, lastRetry = 500 * time.Millisecond, 2 * time.Second
	// maxLinks bounds the links of a span, unless OTEL_SPAN_LINK_COUNT_LIMIT does: a
	// block has one for each page that it holds.
	maxLinks = 1_000
	// complainEvery bounds how often it is logged that something cannot be sent.
	complainEvery = time.Minute
)

// enabled says whether the environment has a signal sent.
func (k kind) enabled(environ map[string]string) (bool, error) {
	if environ[disabledVariable] == "true" || environ[k.exporter()] == "none" {
		return false, nil
	}
	var faults []error
	if e := environ[k.exporter()]; e != "" && e != "otlp" {
		faults = append(faults, fmt.Errorf("%s: %q is not supported: want otlp or none", k.exporter(), e))
	}
	if environ[endpointVariable] == "" && environ[k.endpoint()] == "" && environ[k.exporter()] == "" {
		return false, nil
	}
	for _, v := range []string{endpointVariable, k.endpoint()} {
		if to := environ[v]; to != "" {
			if err := address.URL(to, "http", "https"); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", v, err))
			}
		}
	}
	for _, v := range []string{protocolVariable, k.protocol()} {
		if p := environ[v]; p != "" && p != protocol {
			faults = append(faults, fmt.Errorf("%s: %q is not supported: want %s", v, p, protocol))
		}
	}
	return true, errors.Join(faults...)
}

// url is where the environment has a signal sent; "" leaves it to the SDK.
func (k kind) url(environ map[string]string) string {
	if to := environ[k.endpoint()]; to != "" {
		return to
	}
	if to := environ[endpointVariable]; to != "" {
		return strings.TrimSuffix(to, "/") + "/v1/" + strings.ToLower(string(k))
	}
	return ""
}

// Sender sends a process's spans and metrics. The zero Sender sends nothing.
type Sender struct {
	traces  *sdktrace.TracerProvider // nil: off
	metrics *sdkmetric.MeterProvider // likewise
	wanted  chan struct{}            // metrics are to be sent
	stop    context.CancelFunc       // of the goroutine that sends them
	stopped chan struct{}
}

// Open has the process send its spans and its metrics, as those of a service, if the
// environment says so: the metrics are what of gives to Prometheus too, each minute
// (OTEL_METRIC_EXPORT_INTERVAL) and when Push asks for it. The standard variables are
// read from environ where they decide whether and where to, and from the process's own
// environment by OpenTelemetry's SDK.
//
// What cannot be sent is dropped; that is logged, and no error.
func Open(ctx context.Context, service string, of prometheus.Gatherer, environ map[string]string) (*Sender, error) {
	traced, err := spans.enabled(environ)
	measured, also := metrics.enabled(environ)
	if err := errors.Join(err, also); err != nil {
		return nil, fmt.Errorf("configuration of OpenTelemetry: %w", err)
	}
	s := &Sender{}
	if !traced && !measured {
		return s, nil
	}
	var version string
	if built, ok := debug.ReadBuildInfo(); ok {
		version = built.Main.Version
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.namespace", "m7pulse"),
			attribute.String("service.version", version), attribute.String("service.instance.id", uuid.NewString())),
		resource.WithProcessPID(), resource.WithTelemetrySDK(), resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("describe the sender of OTLP: %w", err)
	}
	otel.SetErrorHandler(&complaints{})
	if traced {
		if s.traces, err = openTraces(ctx, about, spans.url(environ)); err != nil {
			return nil, err
		}
	}
	if measured {
		if s.metrics, err = openMetrics(ctx, about, metrics.url(environ), of); err != nil {
			s.Close(ctx)
			return nil, err
		}
		pushing, stop := context.WithCancel(context.Background())
		s.wanted, s.stop, s.stopped = make(chan struct{}, 1), stop, make(chan struct{})
		go s.push(pushing)
	}
	return s, nil
}

func openTraces(ctx context.Context, about *resource.Resource, to string) (*sdktrace.TracerProvider, error) {
	options := []otlptracehttp.Option{otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
		Enabled: true, InitialInterval: firstRetry, MaxInterval: lastRetry, MaxElapsedTime: exportLimit,
	})}
	if to != "" {
		options = append(options, otlptracehttp.WithEndpointURL(to))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
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
	otel.SetTracerProvider(provider)
	return provider, nil
}

// openMetrics defines no metric: the bridge takes each as Prometheus gets it.
func openMetrics(ctx context.Context, about *resource.Resource, to string, of prometheus.Gatherer) (*sdkmetric.MeterProvider, error) {
	options := []otlpmetrichttp.Option{otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{
		Enabled: true, InitialInterval: firstRetry, MaxInterval: lastRetry, MaxElapsedTime: exportLimit,
	})}
	if to != "" {
		options = append(options, otlpmetrichttp.WithEndpointURL(to))
	}
	exporter, err := otlpmetrichttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open the exporter of metrics: %w", err)
	}
	reader := sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithTimeout(exportLimit), sdkmetric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(of))))
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(about)), nil
}

// Push asks that the metrics be sent as they are then: at once, or 5 s after they were
// last asked for. It does not wait.
func (s *Sender) Push() {
	select {
	case s.wanted <- struct{}{}:
	default: // they are off, or are to be sent already
	}
}

func (s *Sender) push(ctx context.Context) {
	defer close(s.stopped)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wanted:
		}
		if err := s.metrics.ForceFlush(ctx); err != nil && ctx.Err() == nil {
			otel.Handle(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pushPause):
		}
	}
}

// Close sends what is left, within ctx, and sends nothing from then on.
func (s *Sender) Close(ctx context.Context) {
	if s.stop != nil {
		s.stop()
		<-s.stopped
	}
	var sending sync.WaitGroup
	if s.traces != nil {
		otel.SetTracerProvider(otelnoop.NewTracerProvider())
		sending.Go(func() {
			if err := s.traces.Shutdown(ctx); err != nil {
				complain(err)
			}
		})
	}
	if s.metrics != nil {
		sending.Go(func() {
			if err := s.metrics.Shutdown(ctx); err != nil {
				complain(err)
			}
		})
	}
	sending.Wait()
}

// complaints logs what goes wrong with sending, once a minute.
type complaints struct{ last atomic.Int64 }

func (c *complaints) Handle(err error) {
	now := time.Now().UnixNano()
	if last := c.last.Load(); now-last > int64(complainEvery) && c.last.CompareAndSwap(last, now) {
		complain(err)
	}
}

func complain(err error) {
	slog.Warn("spans or metrics are dropped: they cannot be sent", "error", err)
}
