// Package serve hosts a function: it is the one place where HTTP becomes a
// CloudEvent and an error becomes a status. The same Instance runs under
// func-go in a cluster and under `pulse function` on one machine.
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/telemetry"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// Function is what an Instance hosts.
type Function interface {
	// Receive handles one event and returns nil once its effect is durable, or
	// certain to be. An error that wraps event.ErrInvalid says that the event
	// can never succeed; any other, that it may when tried again.
	Receive(ctx context.Context, e cloudevents.Event) error
	Part
}

// Web is a function that answers requests of HTTP. An Instance that hosts one which
// is a Function too gives it what is posted to / as an event.
type Web interface {
	http.Handler
	Part
}

// Part is what every function has, a Function, a Web, or both.
type Part interface {
	// Status tells how the function fares, for health checks and people. It waits for
	// no server, and may be asked after Close.
	Status() Status
	// Close ends all work within ctx and leaves nothing half done.
	Close(ctx context.Context) error
}

// Status is a function's own account of itself.
type Status struct {
	Failing string `json:"failing,omitempty"` // its last error, while it has not succeeded since
	Detail  any    `json:"detail,omitempty"`
	// Gauges and Metrics are what GET /metrics shows, and what is sent by OTLP, besides
	// what is known of every function and what its process uses. Each gets the label
	// function.
	Gauges  []Gauge                `json:"-"`
	Metrics []prometheus.Collector `json:"-"`
}

// Limits of one request.
const (
	maxBody = 1 << 20          // bytes
	timeout = 20 * time.Second // func-go cuts at 30 s
)

// Limits of a stop. Knative's hook takes the grace period of a pod, so SIGKILL
// comes about two seconds after SIGTERM. func-go first waits for the requests that
// are open, and notices their end up to shutdownPoll late; the function is closed
// meanwhile. Both are over after stopLimit, which leaves the rest of the two
// seconds to the end of the process on a busy machine.
const (
	killedAfter  = 2 * time.Second
	stopLimit    = killedAfter - 700*time.Millisecond
	shutdownPoll = 550 * time.Millisecond   // of http.Server.Shutdown: 500 ms and a tenth
	requestGrace = stopLimit - shutdownPoll // then the requests that are still open are cancelled
	sendLimit    = 300 * time.Millisecond   // for the last spans and metrics, after stopLimit at the latest
)

// Instance is a function as func-go hosts it: Handle, and the hooks Start,
// Stop, Ready and Alive.
type Instance struct {
	name string
	open func(ctx context.Context, env map[string]string) (Part, error)
	fn   atomic.Pointer[Part]

	log     sync.Once
	sender  atomic.Pointer[telemetry.Sender]
	warm    atomic.Bool // a request was answered before
	metrics *metrics

	requests    context.Context // ends when no request may be open any more
	cancel      context.CancelFunc
	stopSignals atomic.Pointer[context.CancelFunc] // stops listening to signals
	stop        sync.Once
	stopped     error
}

// New returns an instance that opens its function when it is started. open must
// not wait for a server to come up: it checks the configuration and returns.
func New(name string, open func(ctx context.Context, env map[string]string) (Function, error)) *Instance {
	return newInstance(name, func(ctx context.Context, env map[string]string) (Part, error) { return open(ctx, env) })
}

// NewWeb is New of a function that answers requests.
func NewWeb(name string, open func(ctx context.Context, env map[string]string) (Web, error)) *Instance {
	return newInstance(name, func(ctx context.Context, env map[string]string) (Part, error) { return open(ctx, env) })
}

func newInstance(name string, open func(ctx context.Context, env map[string]string) (Part, error)) *Instance {
	requests, cancel := context.WithCancel(context.Background())
	i := &Instance{name: name, open: open, requests: requests, cancel: cancel}
	i.metrics = newMetrics(name)
	return i
}

// Open opens the function by itself, for a service that hosts several. Its
// caller closes it.
func (i *Instance) Open(ctx context.Context, env map[string]string) (Function, error) {
	return openAs[Function](ctx, i, env)
}

// OpenWeb is Open of a function that answers requests.
func (i *Instance) OpenWeb(ctx context.Context, env map[string]string) (Web, error) {
	return openAs[Web](ctx, i, env)
}

func openAs[F Part](ctx context.Context, i *Instance, env map[string]string) (f F, err error) {
	fn, err := i.open(ctx, env)
	if err != nil {
		return f, fmt.Errorf("start %s: %w", i.name, err)
	}
	f, ok := fn.(F)
	if !ok {
		return f, errors.Join(fmt.Errorf("start %s: it is no %T", i.name, &f), fn.Close(ctx))
	}
	return f, nil
}

// Start opens the function. Until it has returned, events are answered 503. The
// process is the function's from then on, and logs as Knative's components do.
func (i *Instance) Start(ctx context.Context, env map[string]string) error {
	i.StartLog(env)
	sender, err := telemetry.Open(ctx, i.name, i.metrics.registry, env)
	if err != nil {
		return fmt.Errorf("start %s: %w", i.name, err)
	}
	fn, err := openAs[Part](ctx, i, env)
	if err != nil {
		sender.Close(ctx)
		return err
	}
	i.sender.Store(sender)
	i.metrics.of.Store(&fn)
	i.fn.Store(&fn)
	signals, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	i.stopSignals.Store(&stop)
	context.AfterFunc(signals, func() { _ = i.Stop(context.Background()) }) // the host calls Stop too, and gets the error
	return nil
}

// Stop refuses new events, cancels the requests that are open after 0.75 s, and
// closes the function, within 1.3 s, then sends the last spans and metrics, within 0.3 s. The first
// call does so, be it by a signal or by the host; the others wait for it and return its
// error.
func (i *Instance) Stop(ctx context.Context) error {
	i.stop.Do(func() {
		defer i.cancel()
		fn := i.fn.Swap(nil)
		if fn == nil {
			return
		}
		if stopSignals := i.stopSignals.Load(); stopSignals != nil {
			defer (*stopSignals)()
		}
		defer time.AfterFunc(requestGrace, i.cancel).Stop()
		ctx, cancel := context.WithTimeout(ctx, stopLimit)
		defer cancel()
		i.stopped = (*fn).Close(ctx)
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
		defer cancel()
		i.sender.Load().Close(sending)
	})
	return i.stopped
}

// Job is work that a function's program does once, instead of serving.
type Job func(ctx context.Context, environ map[string]string, measure Measure) error

// Measure is given what a job measures, before it begins. nil measures nothing.
type Measure func(...prometheus.Collector)

// Do does a job of the function once, as its process: with its log, its spans, what it
// measures, and what its process uses.
func (i *Instance) Do(ctx context.Context, env map[string]string, job Job) error {
	sender, err := telemetry.Open(ctx, i.name, i.metrics.registry, env)
	if err != nil {
		return fmt.Errorf("start %s: %w", i.name, err)
	}
	defer func() {
		sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobSendLimit)
		defer cancel()
		sender.Close(sending)
	}()
	return job(ctx, env, prometheus.WrapRegistererWith(prometheus.Labels{"function": i.name}, i.metrics.registry).MustRegister)
}

// jobSendLimit bounds the sending of the last spans and metrics of a job.
const jobSendLimit = 2 * time.Second

// Ready says whether events are taken.
func (i *Instance) Ready(context.Context) (bool, error) { return i.fn.Load() != nil, nil }

// Alive says that the process answers; a failing dependency is no reason to
// kill it.
func (i *Instance) Alive(context.Context) (bool, error) { return true, nil }

// Handle answers one request: a CloudEvent by POST, GET /status, GET /metrics, or
// what a Web answers.
//
// 2xx: the effect is durable, or certain to be. 415: no CloudEvent. 413: more
// than 1 MiB. 422: can never succeed. 503: try again, or, of a bell, ring again.
func (i *Instance) Handle(w http.ResponseWriter, r *http.Request) {
	fn := i.fn.Load()
	if fn == nil {
		http.Error(w, i.name+" is starting or stopping", http.StatusServiceUnavailable)
		return
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/status":
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode((*fn).Status()); err != nil {
			slog.Warn("answer /status", "function", i.name, "error", err)
		}
		return
	case r.Method == http.MethodGet && r.URL.Path == "/metrics":
		i.metrics.handler.ServeHTTP(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	defer context.AfterFunc(i.requests, cancel)()
	receiver, receives := (*fn).(Function)
	defer i.sender.Load().Push() // a handler's end is that of the blocks it was rung for
	cold := !i.warm.Swap(true)
	if cold {
		i.metrics.coldStarts.Inc()
	}
	if web, ok := (*fn).(Web); ok && (!receives || r.Method != http.MethodPost || r.URL.Path != "/") {
		ctx, span := trace.Receive(ctx, event.PlaceOfRequest(r.Header), "answer "+r.Method, "url.path", r.URL.Path, "faas.coldstart", cold)
		defer span.End(nil)
		promhttp.InstrumentHandlerDuration(i.metrics.requests, web).ServeHTTP(w, r.WithContext(ctx))
		return
	}
	began, status, kind := time.Now(), http.StatusNoContent, kindOther
	refuse := func(code int, reason string) {
		status = code
		http.Error(w, reason, code)
	}
	defer func() {
		i.metrics.events.WithLabelValues(kind, strconv.Itoa(status)).Observe(time.Since(began).Seconds())
	}()
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		refuse(http.StatusMethodNotAllowed, "post a CloudEvent")
		return
	}
	e, err := event.FromHTTP(r)
	if err == nil {
		err = e.Validate()
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit))
		return
	case err != nil:
		refuse(http.StatusUnsupportedMediaType, "not a CloudEvent: "+err.Error())
		return
	}
	ctx, span := trace.Receive(ctx, event.PlaceOfEvent(e, r.Header), spanName(e), "cloudevents.event_id", e.ID(), "cloudevents.event_type", e.Type(),
		"cloudevents.event_source", e.Source(), "faas.coldstart", cold)
	kind = kindOf(e)
	err = receiver.Receive(ctx, e)
	span.End(err)
	if err != nil {
		status = statusOf(err)
		if status >= 500 {
			w.Header().Set("Retry-After", retryAfter(err))
		}
		if errors.Is(err, kafka.ErrBehind) {
			slog.InfoContext(ctx, "bell is to ring again", "function", i.name, "id", e.ID(), "reason", err)
		} else {
			slog.WarnContext(ctx, "event refused", "function", i.name, "id", e.ID(), "type", e.Type(), "status", status, "error", err)
		}
		refuse(status, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// spanName is what a handler's span is called: what an event is for.
func spanName(e cloudevents.Event) string {
	if topic, bell := BellTopic(e); bell && e.Type() == event.TypeBell {
		return "bell " + topic
	}
	if e.Type() == event.TypeTick {
		if do, err := Tick(e); err == nil && len(do) < 20 {
			return "tick " + do
		}
	}
	return "receive " + e.Type()
}

// statusOf maps errors to status: Knative retries 5xx and 429, and gives up on
// any other 4xx.
func statusOf(err error) int {
	if errors.Is(err, event.ErrInvalid) {
		return http.StatusUnprocessableEntity
	}
	return http.StatusServiceUnavailable
}

// retryAfter says in how many seconds to try again. Knative ignores it; others do not.
func retryAfter(err error) string {
	switch {
	case errors.Is(err, kafka.ErrOpen):
		return "10"
	case errors.Is(err, kafka.ErrBehind):
		return "1"
	}
	return "5"
}
