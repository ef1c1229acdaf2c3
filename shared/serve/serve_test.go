package serve_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// fn is a function that answers as the test sets it.
type fn struct {
	err    error
	got    []cloudevents.Event
	closed bool
	gauges []serve.Gauge
}

func (f *fn) Receive(_ context.Context, e cloudevents.Event) error {
	f.got = append(f.got, e)
	return f.err
}
func (f *fn) Status() serve.Status        { return serve.Status{Failing: "nothing", Gauges: f.gauges} }
func (f *fn) Close(context.Context) error { f.closed = true; return nil }

func started(t *testing.T, f *fn) *serve.Instance {
	t.Helper()
	i := serve.New("test", func(context.Context, map[string]string) (serve.Function, error) { return f, nil })
	if err := i.Start(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	return i
}

func request(method, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func binary(body string) *http.Request {
	return request(http.MethodPost, body, "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Type", "t", "Ce-Source", "/s", "Content-Type", "application/json")
}

func TestStatusTellsKnativeWhetherToTryAgain(t *testing.T) {
	post := func(want int, f *fn, r *http.Request) {
		t.Helper()
		w := httptest.NewRecorder()
		started(t, f).Handle(w, r)
		if w.Code != want {
			t.Errorf("answered %d %s, want %d", w.Code, strings.TrimSpace(w.Body.String()), want)
		}
	}
	post(204, &fn{}, binary(`{}`))
	post(204, &fn{}, request(http.MethodPost, `{"specversion":"1.0","id":"1","type":"t","source":"/s"}`, "Content-Type", "application/cloudevents+json"))
	post(422, &fn{err: event.Invalid("never")}, binary(`{}`))
	post(503, &fn{err: errors.New("later")}, binary(`{}`))
	post(503, &fn{err: fmt.Errorf("drain of x: %w", kafka.ErrBehind)}, binary(`{}`)) // a bell that is answered 2xx does not ring again
	post(415, &fn{}, request(http.MethodPost, `hello`, "Content-Type", "text/plain"))
	post(415, &fn{}, request(http.MethodPost, `{"specversion":"1.0"}`, "Content-Type", "application/cloudevents+json"))
	post(413, &fn{}, binary(strings.Repeat("x", 1<<20+1)))
	post(405, &fn{}, request(http.MethodGet, ""))
	post(405, &fn{}, request(http.MethodDelete, ""))
}

func TestRefusalNamesTheReasonAndWhenToComeAgain(t *testing.T) {
	w := httptest.NewRecorder()
	started(t, &fn{err: errors.New("redis is away")}).Handle(w, binary(`{}`))
	if !strings.Contains(w.Body.String(), "redis is away") || w.Header().Get("Retry-After") == "" {
		t.Errorf("%s, Retry-After %q", w.Body, w.Header().Get("Retry-After"))
	}
}

func TestEventsAreRefusedUntilStartedAndAfterStop(t *testing.T) {
	f := &fn{}
	release := make(chan struct{})
	i := serve.New("test", func(context.Context, map[string]string) (serve.Function, error) { <-release; return f, nil })
	code := func() int {
		w := httptest.NewRecorder()
		i.Handle(w, binary(`{}`))
		return w.Code
	}
	ready := func() bool { ok, _ := i.Ready(context.Background()); return ok }
	done := make(chan error)
	go func() { done <- i.Start(context.Background(), nil) }()
	if code() != 503 || ready() {
		t.Error("takes events before it is started")
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if code() != 204 || !ready() {
		t.Error("takes no events though it is started")
	}
	if err := i.Stop(context.Background()); err != nil || !f.closed {
		t.Errorf("stop: %v, closed %v", err, f.closed)
	}
	if code() != 503 || ready() {
		t.Error("takes events after it is stopped")
	}
}

// unstoppable is a function whose work ends only with its context.
type unstoppable struct {
	fn
	begun chan struct{}
}

func (s *unstoppable) Receive(ctx context.Context, _ cloudevents.Event) error {
	close(s.begun)
	<-ctx.Done()
	return ctx.Err()
}

func (s *unstoppable) Close(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// func-go calls Stop only once no request is open, and the process is killed two
// seconds after SIGTERM.
func TestStopEndsTheRequestsThatAreOpen(t *testing.T) {
	f := &unstoppable{begun: make(chan struct{})}
	i := serve.New("test", func(context.Context, map[string]string) (serve.Function, error) { return f, nil })
	if err := i.Start(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	w, answered := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(answered)
		i.Handle(w, binary(`{}`))
	}()
	<-f.begun
	stopped := make(chan error, 1)
	go func() { stopped <- i.Stop(context.Background()) }()
	select {
	case <-answered:
	case <-stopped:
		t.Fatal("the request is open though the function has stopped")
	}
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d, want 503", w.Code)
	}
	if err := <-stopped; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v, want that the function was not closed in its time", err)
	}
}

func TestStatusIsReadableByPeople(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/status", &bytes.Buffer{})
	started(t, &fn{}).Handle(w, r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"failing":"nothing"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// config is a function's configuration with two things that can be wrong.
type config struct {
	Name  string `env:"NAME"`
	Count int    `env:"COUNT" envDefault:"3"`
}

func (c config) Validate(context.Context) (errs *apis.FieldError) {
	if c.Name == "" {
		errs = errs.Also(apis.ErrMissingField("NAME"))
	}
	return errs
}

func TestConfigurationReportsAllFaultsAtOnce(t *testing.T) {
	_, err := serve.Load[config](context.Background(), map[string]string{"COUNT": "many"})
	if err == nil || !strings.Contains(err.Error(), "NAME") || !strings.Contains(err.Error(), "Count") {
		t.Errorf("%v: want both NAME and COUNT", err)
	}
	c, err := serve.Load[config](context.Background(), map[string]string{"NAME": "x"})
	if err != nil || c.Count != 3 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestMetricsAreInPrometheusForm(t *testing.T) {
	w := httptest.NewRecorder()
	f := &fn{gauges: []serve.Gauge{
		{Name: "breaker", Help: "Of the drain.", Labels: map[string]string{"state": "open"}, Value: 1},
		{Name: "failing_since", Value: 2},
		{Name: "breaker", Help: "Of the drain.", Labels: map[string]string{"state": "a\"b\nc"}},
	}}
	started(t, f).Handle(w, httptest.NewRequest(http.MethodGet, "/metrics", &bytes.Buffer{}))
	want := `# HELP m7pulse_breaker Of the drain.
# TYPE m7pulse_breaker gauge
m7pulse_breaker{function="test",state="a\"b\nc"} 0
m7pulse_breaker{function="test",state="open"} 1
# HELP m7pulse_cold_starts_total Requests that were the first of their process.
# TYPE m7pulse_cold_starts_total counter
m7pulse_cold_starts_total{function="test"} 0
# HELP m7pulse_failing 1 while the function's last attempt failed.
# TYPE m7pulse_failing gauge
m7pulse_failing{function="test"} 1
# HELP m7pulse_failing_since ` + `
# TYPE m7pulse_failing_since gauge
m7pulse_failing_since{function="test"} 2
`
	if w.Code != 200 || !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), "go_goroutines ") || !strings.Contains(w.Body.String(), "go_build_info{") {
		t.Errorf("%d\n%s\nwant\n%s", w.Code, w.Body, want)
	}
}
