// Package api is the function that answers what the hot store knows, over HTTP: a read
// API, and the page that people see. It reads no topic and writes nothing.
package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/address"
	"github.com/m7pulse/m7pulse/shared/clickhouse"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	// ClickHouse is the address of the hot store with a user who can only read. Without
	// it the function is ready, and answers 503 with that as the reason.
	ClickHouse string `env:"CLICKHOUSE_READER_URL"`
	// Keys are the keys that callers must have, as name=key,name=key; none: everybody
	// may ask.
	Keys []string `env:"API_KEYS"`
	// Rate is how many requests a second one caller may send, a key or an address.
	Rate float64 `env:"API_RATE" envDefault:"20"`
	// Proxies is how many proxies that are ours stand before the function: by it the
	// caller's address is found in X-Forwarded-For.
	Proxies int `env:"API_PROXIES" envDefault:"1"`
	// Origins are the sites whose pages may read the answers (CORS), or *.
	Origins []string `env:"API_ORIGINS"`
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(context.Context) (errs *apis.FieldError) {
	if c.ClickHouse != "" {
		errs = errs.Also(address.Field("CLICKHOUSE_READER_URL", c.ClickHouse, clickhouse.CheckAddress))
	}
	errs = errs.Also(
		serve.InRange("API_RATE", c.Rate, 0.1, 100_000),
		serve.InRange("API_PROXIES", c.Proxies, 0, 10),
	)
	names := map[string]bool{}
	for _, k := range c.Keys {
		name, key, _ := strings.Cut(k, "=")
		switch {
		case name == "" || len(key) < minKey:
			errs = errs.Also(apis.ErrGeneric("want name=key,name=key with keys of 16 characters or more", "API_KEYS")) // quotes no key
		case names[name]:
			errs = errs.Also(apis.ErrGeneric("a name is there twice", "API_KEYS"))
		}
		names[name] = true
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Host == "" || u.Scheme+"://"+u.Host != o) {
			errs = errs.Also(apis.ErrInvalidValue(o, "API_ORIGINS", "want https://host or *"))
		}
	}
	return errs
}

const noReader = "CLICKHOUSE_READER_URL is not set: give the address of ClickHouse with a user who can only read"

// minKey is the least length of a key: one that is shorter can be guessed.
const minKey = 16

// What is asked of ClickHouse at once and at most.
func limits() hot.Limits {
	return hot.Limits{Queries: 8, Wait: 5 * time.Second, Time: 10 * time.Second, Rows: 200_000}
}

// New returns the function for func-go and the local runner.
func New() *serve.Instance { return serve.NewWeb("api", open) }

// open connects to nothing: ClickHouse is asked with the first request.
func open(ctx context.Context, environ map[string]string) (serve.Web, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	if cfg.ClickHouse == "" {
		f := &function{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeProblem(w, http.StatusServiceUnavailable, noReader)
		})}
		reason := noReader
		f.failing.Store(&reason)
		return f, nil
	}
	conn, err := hot.Open(cfg.ClickHouse, limits())
	if err != nil {
		return nil, err
	}
	f := &function{conn: conn, memory: memory{stamp: func(ctx context.Context) (string, error) { return hot.Stamp(ctx, conn) }}}
	mux, err := f.routes(len(cfg.Keys) > 0)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	f.handler = f.admit(cfg, mux)
	return f, nil
}

type function struct {
	conn    *hot.Conn // nil without an address
	handler http.Handler
	memory  memory
	failing atomic.Pointer[string] // the last error of ClickHouse, until it answers
}

// ServeHTTP answers a request. All are safe to repeat, for nothing is written.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.handler.ServeHTTP(w, r) }

// Status implements serve.Web.
func (f *function) Status() serve.Status {
	s := serve.Status{}
	if e := f.failing.Load(); e != nil {
		s.Failing = *e
	}
	return s
}

// Close ends the connection to ClickHouse.
func (f *function) Close(context.Context) error {
	if f.conn == nil {
		return nil
	}
	return f.conn.Close()
}
