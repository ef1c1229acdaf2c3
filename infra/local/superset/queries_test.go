//go:build integration

package superset_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// queriesFile is what bench/queries measures. UPDATE=1 writes it.
const queriesFile = "../../../bench/queries/dashboards.json"

// chartQuery is a query as Superset sends it when a dashboard is opened.
type chartQuery struct {
	Dashboard string `json:"dashboard"`
	Chart     int64  `json:"-"`
	SQL       string `json:"sql"`
}

// queries collects what the charts' answers say they have asked ClickHouse.
type queries struct {
	mu      sync.Mutex
	answers []network.RequestID
	all     []chartQuery
}

func (q *queries) listen(event any) {
	e, ok := event.(*network.EventResponseReceived)
	if !ok || !strings.Contains(e.Response.URL, "/api/v1/chart/data") {
		return
	}
	if at, err := url.Parse(e.Response.URL); err != nil || !strings.Contains(at.RawQuery, "slice_id") {
		return // a filter's values
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answers = append(q.answers, e.RequestID)
}

// collect reads the answers that came since it was called last.
func (q *queries) collect(t *testing.T, browser context.Context, dashboard string) {
	t.Helper()
	q.mu.Lock()
	answers := q.answers
	q.answers = nil
	q.mu.Unlock()
	for _, id := range answers {
		var body []byte
		run(t, browser, chromedp.ActionFunc(func(ctx context.Context) (err error) {
			body, err = network.GetResponseBody(id).Do(ctx)
			return err
		}))
		var answer struct {
			Result []struct{ Query string }
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatalf("a chart's answer: %v", err)
		}
		for _, r := range answer.Result {
			q.all = append(q.all, chartQuery{Dashboard: dashboard, SQL: r.Query})
		}
	}
}

func (q *queries) compare(t *testing.T) {
	slices.SortFunc(q.all, func(a, b chartQuery) int {
		return cmp.Or(cmp.Compare(a.Dashboard, b.Dashboard), cmp.Compare(a.SQL, b.SQL))
	})
	q.all = slices.Compact(q.all)
	var got bytes.Buffer
	encoder := json.NewEncoder(&got)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(q.all); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(queriesFile, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(queriesFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("Superset sends %d queries that are not those of %s: run again with UPDATE=1 and look at the difference", len(q.all), queriesFile)
	}
}
