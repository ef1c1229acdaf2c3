package hot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	sharedclickhouse "github.com/m7pulse/m7pulse/shared/clickhouse"
)

// Reader asks a hot store. A driver.Conn is one; a Conn is one within limits.
type Reader interface {
	Query(ctx context.Context, query string, args ...any) (driver.Rows, error)
}

// Limits bound what a Conn asks of ClickHouse.
type Limits struct {
	Queries int           // at once; more wait
	Wait    time.Duration // for a turn, then ErrBusy
	Time    time.Duration // of one query, in whole seconds
	Rows    int           // of one answer; beyond it ClickHouse refuses the query
}

// Why a query was not answered. Each may be answered later.
var (
	ErrBusy    = errors.New("too many queries at once")
	ErrUnready = errors.New("the hot store has not the schema of this version: sink-clickhouse makes it when it is next woken")
	ErrTimeout = errors.New("the query took too long")
)

// ErrZone says that ClickHouse does not know a time zone.
var ErrZone = errors.New("unknown time zone")

// Conn is a connection to a hot store that keeps to limits, whatever the user
// it comes as may do.
type Conn struct {
	conn   driver.Conn
	limits Limits
	turns  chan struct{}
	// settings says whether the user may set limits of its own. One with readonly=1
	// has those of its profile only.
	settings atomic.Bool
}

// Open connects to a hot store at an address as of shared/clickhouse. It does not
// wait for the server.
func Open(address string, limits Limits) (*Conn, error) {
	opts, err := sharedclickhouse.Options(address)
	if err != nil {
		return nil, fmt.Errorf("address of the hot store: %w", err)
	}
	opts.ReadTimeout = limits.Time + 5*time.Second
	opts.MaxOpenConns, opts.MaxIdleConns = limits.Queries, limits.Queries
	c := &Conn{limits: limits, turns: make(chan struct{}, limits.Queries)}
	c.settings.Store(true)
	opts.TransportFunc = func(t *http.Transport) (http.RoundTripper, error) { return plain{t, c}, nil }
	if c.conn, err = clickhouse.Open(opts); err != nil {
		return nil, fmt.Errorf("open the hot store: %w", err)
	}
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Query asks within the limits. The rows are to be closed.
func (c *Conn) Query(ctx context.Context, query string, args ...any) (driver.Rows, error) {
	if err := c.turn(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.limits.Time+time.Second, ErrTimeout)
	began := time.Now()
	done := sync.OnceFunc(func() {
		cancel()
		<-c.turns
		if spent, ok := ctx.Value(spentKey{}).(*atomic.Int64); ok {
			spent.Add(int64(time.Since(began)))
		}
	})
	with := c.settings.Load()
	got, err := c.conn.Query(c.context(ctx, with), query, args...)
	if with && isCode(err, codeReadonly) {
		c.settings.Store(false)
		got, err = c.conn.Query(c.context(ctx, false), query, args...)
	}
	if err != nil {
		err = explain(ctx, err)
		done()
		return nil, err
	}
	return &rows{Rows: got, ctx: ctx, done: done}, nil
}

type spentKey struct{}

// Timed returns a context whose queries' time, from when they are sent until all is read,
// is added up.
func Timed(ctx context.Context) (timed context.Context, spent func() time.Duration) {
	var sum atomic.Int64
	return context.WithValue(ctx, spentKey{}, &sum), func() time.Duration { return time.Duration(sum.Load()) }
}

// turn waits until fewer than the most queries run.
func (c *Conn) turn(ctx context.Context) error {
	wait := time.NewTimer(c.limits.Wait)
	defer wait.Stop()
	select {
	case c.turns <- struct{}{}:
		return nil
	case <-wait.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// plain leaves settings out of a request that comes as a user who may not change them.
// The driver makes one of the time that it has for a new connection.
type plain struct {
	base http.RoundTripper
	conn *Conn
}

func (p plain) RoundTrip(r *http.Request) (*http.Response, error) {
	if !p.conn.settings.Load() && r.URL.Query().Has(timeSetting) {
		r = r.Clone(r.Context())
		q := r.URL.Query()
		q.Del(timeSetting)
		r.URL.RawQuery = q.Encode()
	}
	return p.base.RoundTrip(r)
}

const timeSetting = "max_execution_time"

// context says the limits to the driver. It hides the deadline: the driver would
// make a setting of it, which a reader with readonly=1 may not change.
func (c *Conn) context(ctx context.Context, settings bool) context.Context {
	ctx = withoutDeadline{ctx}
	if !settings {
		return ctx
	}
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		timeSetting: int(c.limits.Time.Seconds()), "max_result_rows": c.limits.Rows, "result_overflow_mode": "throw",
	}))
}

// withoutDeadline ends when its parent does and does not say when.
type withoutDeadline struct{ context.Context }

func (withoutDeadline) Deadline() (time.Time, bool) { return time.Time{}, false }

// rows gives the turn back when they are closed.
type rows struct {
	driver.Rows
	ctx  context.Context
	done func()
}

func (r *rows) Close() error {
	err := r.Rows.Close()
	r.done()
	return err
}

func (r *rows) Err() error { return explain(r.ctx, r.Rows.Err()) }

// Errors of ClickHouse, by their codes.
const (
	codeUnknownIdentifier = 47
	codeUnknownTable      = 60
	codeUnknownDatabase   = 81
	codeTimeout           = 159
	codeReadonly          = 164
	codeBadArguments      = 36
	codeUnknownZone       = 1000 // POCO_EXCEPTION, of the library of zones
)

func isCode(err error, codes ...int32) bool {
	var e *clickhouse.Exception
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// explain says what an error of ClickHouse means.
func explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case isCode(err, codeUnknownIdentifier, codeUnknownTable, codeUnknownDatabase):
		return fmt.Errorf("%w: %w", ErrUnready, err)
	case isCode(err, codeTimeout) || errors.Is(context.Cause(ctx), ErrTimeout):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}
