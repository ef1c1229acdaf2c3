package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/alert"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/telemetry"
)

type watchCommand struct {
	Once   bool          `help:"Look once; exit 1 if an alert fires."`
	Every  time.Duration `default:"1m" help:"How often to look; 5s to 1h."`
	Period time.Duration `env:"SWEEP_PERIOD" default:"1h" help:"How often a sweep is due."`
	Listen string        `placeholder:"HOST:PORT" help:"Serve the figures at /metrics for Prometheus."`
}

// Run looks for alerts until it is interrupted, and raises a signal for each that begins
// to fire and each that ceases to.
func (w *watchCommand) Run(ctx context.Context, p *place) error {
	if w.Every < 5*time.Second || w.Every > time.Hour || w.Period < time.Minute || w.Period > 24*time.Hour {
		return fmt.Errorf("--every %s, --period %s: want 5s to 1h, and 1m to 24h", w.Every, w.Period)
	}
	quiet()
	of, err := p.installation()
	if err != nil {
		return err
	}
	sources := alert.Sources{Env: of.Env, Home: of.Home, Period: w.Period}
	if of.Home != "" {
		if sources.Kind, err = p.home.Kind(); err != nil {
			return err
		}
	}
	watch, err := newWatch(ctx, sources, p.env)
	if err != nil {
		return err
	}
	watch.announces = true
	defer watch.close(ctx)
	if w.Listen != "" {
		stop, err := watch.serve(w.Listen)
		if err != nil {
			return err
		}
		defer stop()
	}
	if w.Once {
		firing, err := watch.look(ctx)
		if err == nil && firing > 0 {
			err = exitStatus(1)
		}
		return err
	}
	return watch.run(ctx, w.Every)
}

// watch looks at an installation.
type watch struct {
	sources   alert.Sources
	announces bool // it says which alerts fire, and raises their signals
	redis     redis.UniversalClient
	episodes  *alert.Episodes
	firing    map[string]bool
	shown     atomic.Pointer[serve.Gauges] // the last reading
	metrics   *prometheus.Registry         // of it
	sender    *telemetry.Sender
}

// newWatch returns one that only measures. It sends its figures by OTLP too, if the
// environment says where to.
func newWatch(ctx context.Context, s alert.Sources, environ map[string]string) (*watch, error) {
	if worker := s.Env["CONNECT_URL"]; worker != "" {
		if err := address.URL(worker, "http", "https"); err != nil {
			return nil, fmt.Errorf("CONNECT_URL: %w", err)
		}
	}
	client, err := redisclient.New(s.Env["REDIS_URL"])
	if err != nil {
		return nil, err
	}
	w := &watch{sources: s, redis: client, episodes: alert.NewEpisodes(client), firing: map[string]bool{}, metrics: prometheus.NewRegistry()}
	w.metrics.MustRegister(w)
	environ = maps.Clone(environ)
	environ["OTEL_TRACES_EXPORTER"] = "none" // there is nothing to trace
	w.sender, err = telemetry.Open(ctx, "watch", w.metrics, environ)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return w, nil
}

// close sends the last figures and ends the connection.
func (w *watch) close(ctx context.Context) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	w.sender.Close(ending)
	_ = w.redis.Close() // all has been written
}

// Describe implements prometheus.Collector: which figures are known is seen when they
// are asked for.
func (w *watch) Describe(chan<- *prometheus.Desc) {}

// Collect sends the last reading, nothing before the first.
func (w *watch) Collect(to chan<- prometheus.Metric) {
	if last := w.shown.Load(); last != nil {
		last.Collect(to)
	}
}

// run looks until ctx ends. What fails is said, and tried again.
func (w *watch) run(ctx context.Context, every time.Duration) error {
	for {
		if _, err := w.look(ctx); err != nil && ctx.Err() == nil {
			fmt.Printf("%s: %s\n", time.Now().Format(time.TimeOnly), oneLine(err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(nextLook(time.Now(), every))):
		}
	}
}

// nextLook is a second after a multiple of the time between looks. Sweeps are due at full
// minutes, and thresholds are too: data that is late by a minute is seen a second later,
// not up to another minute.
func nextLook(now time.Time, every time.Duration) time.Time {
	return now.Truncate(every).Add(every + time.Second)
}

// look reads everything once, says what has changed, and announces it.
func (w *watch) look(ctx context.Context) (firing int, err error) {
	now := time.Now()
	r := w.sources.Read(ctx, now)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	w.show(r)
	w.sender.Push()
	if !w.announces {
		return 0, nil
	}
	for _, d := range alert.Definitions() {
		figure, known := r.Figures[d.Figure]
		if !known {
			continue
		}
		fires := d.Fires(figure)
		if fires {
			firing++
		}
		if fires != w.firing[d.Kind] {
			word := "is over"
			if fires {
				word = d.Means + r.Details[d.Figure]
			}
			fmt.Printf("%s: %s (%s), %s %.4g: %s\n", now.Format(time.TimeOnly), d.Kind, d.Severity(), d.Figure, figure, oneLine(word))
		}
		w.firing[d.Kind] = fires
	}
	return firing, w.episodes.Settle(ctx, now, r, func(ctx context.Context, signals []*event.Signal) error {
		return pipeline.Announce(ctx, w.sources.Env, signals)
	})
}

// show puts a reading in the place of the one before: a figure that is not known is gone.
func (w *watch) show(r alert.Reading) {
	all := serve.Gauges(r.Gauges)
	for _, d := range alert.Definitions() {
		if figure, known := r.Figures[d.Figure]; known {
			all = append(all, d.Gauge(figure))
		}
	}
	w.shown.Store(&all)
}

// serve answers GET /metrics.
func (w *watch) serve(address string) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve the figures: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(to http.ResponseWriter, r *http.Request) {
		if w.shown.Load() == nil {
			http.Error(to, "nothing was read yet", http.StatusServiceUnavailable)
			return
		}
		promhttp.HandlerFor(w.metrics, promhttp.HandlerOpts{}).ServeHTTP(to, r)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Println("the figures are served no longer:", err)
		}
	}()
	return func() { _ = server.Close() }, nil
}

// watchStack watches a stack, beside it; announces says whether it raises signals too.
// wait returns once it has stopped.
func watchStack(ctx context.Context, p *place, s *stack.Stack, announces bool) (wait func(), err error) {
	environ := maps.Clone(p.env)
	maps.Copy(environ, s.Env) // where the Collector is, if the stack has its own
	w, err := newWatch(ctx, alert.Sources{Env: environ, Home: string(p.home), Kind: stack.KindOf(p.env), Period: time.Hour}, environ)
	if err != nil {
		return nil, err
	}
	w.announces = announces
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.run(ctx, time.Minute) // it says itself what it could not do
		w.close(ctx)
	}()
	return func() { <-done }, nil
}
