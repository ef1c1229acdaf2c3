package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

// between starts a proxy to ClickHouse, through which admit lets a request or answers it.
func between(t *testing.T, admit func(w http.ResponseWriter, r *http.Request) bool) (address string) {
	t.Helper()
	to, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if admit(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http://", "http://reader:look@", 1)
}

// refuse answers as ClickHouse does to what it does not take.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("X-ClickHouse-Exception-Code", fmt.Sprint(code))
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "Code: %d. DB::Exception: %s", code, text)
}

// A user with readonly=1 may change no setting, not even to less.
func TestAReaderWhoMayChangeNoSettingIsAskedWithoutThem(t *testing.T) {
	var refused atomic.Int32
	address := between(t, func(w http.ResponseWriter, r *http.Request) bool {
		for _, setting := range []string{"max_execution_time", "max_result_rows", "result_overflow_mode"} {
			if r.URL.Query().Has(setting) {
				refused.Add(1)
				refuse(w, 164, "Cannot modify '"+setting+"' setting in readonly mode. (READONLY)")
				return false
			}
		}
		return true
	})
	server := started(t, map[string]string{"CLICKHOUSE_READER_URL": address})
	for range 3 {
		if a := get(t, server, "/api/v1/repositories/acme/steady"); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if n := refused.Load(); n == 0 || n > 2 {
		t.Errorf("%d requests with settings were refused; want one, after which none has them", n)
	}
}

func TestQueriesKeepToTheirLimits(t *testing.T) {
	hold := make(chan struct{})
	var open, most atomic.Int32
	address := between(t, func(http.ResponseWriter, *http.Request) bool {
		n := open.Add(1)
		defer open.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-hold
		return true
	})
	conn, err := hot.Open(address, hot.Limits{Queries: 2, Wait: 200 * time.Millisecond, Time: 20 * time.Second, Rows: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := func(query string) error {
		rows, err := conn.Query(t.Context(), query)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		return errors.Join(rows.Err(), rows.Close())
	}
	results := make(chan error, 5)
	for range 5 {
		go func() { results <- read("SELECT 1") }()
	}
	for range 3 {
		if err := <-results; !errors.Is(err, hot.ErrBusy) {
			t.Errorf("a query beyond two: %v, want ErrBusy", err)
		}
	}
	close(hold)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if most.Load() > 2 {
		t.Errorf("%d requests at once, want 2", most.Load())
	}
	if err := read("SELECT number FROM numbers(6)"); err == nil || !strings.Contains(err.Error(), "limit for result exceeded") && !strings.Contains(err.Error(), "Limit for result exceeded") {
		t.Errorf("more rows than the most: %v", err)
	}
	if err := read("SELECT number FROM numbers(5)"); err != nil {
		t.Errorf("as many rows as the most: %v", err)
	}
	if err := read("INSERT INTO pulse.sweeps (sweep_id) VALUES ('x')"); err == nil {
		t.Error("the reader has written")
	}
}

func TestAQueryThatTakesTooLongIsGivenUp(t *testing.T) {
	gone := make(chan struct{})
	address := between(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.RawQuery, "max_result_rows") { // the driver's greeting
			return true
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // until then the server does not see that a caller goes
			t.Error(err)
		}
		<-r.Context().Done()
		close(gone)
		return false
	})
	conn, err := hot.Open(address, hot.Limits{Queries: 1, Wait: time.Second, Time: time.Second, Rows: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Query(t.Context(), "SELECT 1"); !errors.Is(err, hot.ErrTimeout) {
		t.Errorf("%v, want ErrTimeout", err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the request goes on")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conn.Query(ended, "SELECT 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("of a caller who has gone: %v", err)
	}
}
