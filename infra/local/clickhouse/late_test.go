package clickhouse

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/event"
)

// TestInsertThatArrivesTooLateIsRefused: a proxy that has an insert in its buffer
// delivers it, though whoever sent it has given it up and looks which rows are there.
func TestInsertThatArrivesTooLateIsRefused(t *testing.T) {
	e := start(t, t.TempDir())
	for name, c := range map[string]struct {
		held time.Duration
		rows int64
	}{
		"on its way for 7 s": {7 * time.Second, 0},
		"on its way for 2 s": {2 * time.Second, 1}, // why a writer has to wait at all
	} {
		arrived := make(chan error, 1)
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			insert := strings.Contains(r.URL.RawQuery+string(body[:min(len(body), 100)]), "INSERT")
			if insert {
				time.Sleep(c.held)
			}
			request, err := http.NewRequest(r.Method, "http://"+e.addr+r.URL.RequestURI(), bytes.NewReader(body))
			if err != nil {
				arrived <- err
				return
			}
			request.Header = r.Header
			answer, err := http.DefaultClient.Do(request)
			if insert {
				arrived <- err
			}
			if err != nil {
				return
			}
			defer answer.Body.Close()
			for key, values := range answer.Header {
				w.Header()[key] = values
			}
			w.WriteHeader(answer.StatusCode)
			_, _ = io.Copy(w, answer.Body)
		}))
		ctx := t.Context()
		if err := sinkclickhouse.Prepare(ctx, "http://"+e.addr); err != nil {
			t.Fatal(err)
		}
		draft, err := sinkclickhouse.OpenDraft(proxy.URL, "redis://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := draft.Begin(ctx); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		row := &event.RepoProcessed{}
		row.ID, row.ObservedAt, row.ProcessedAt = 1, at, at
		short, cancel := context.WithTimeout(ctx, time.Second)
		if err := draft.Write(short, []*event.RepoProcessed{row}); err == nil {
			t.Errorf("%s: the insert is answered", name)
		}
		cancel()
		if err := <-arrived; err != nil {
			t.Fatal(err)
		}
		days, err := draft.Count(ctx, []string{"2026-03-01"})
		if err != nil {
			t.Fatal(err)
		}
		if got := days["2026-03-01"].Rows; got != c.rows {
			t.Errorf("%s: %d rows are stored, want %d", name, got, c.rows)
		}
		if err := draft.Close(); err != nil {
			t.Log(err) // there is no Redis
		}
		proxy.Close()
	}
}
