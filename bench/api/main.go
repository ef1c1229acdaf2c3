// Command api measures how many requests a second the API answers, and how long it and
// ClickHouse take for one.
//
//	go run ./bench/api -url "$API_URL"
//
// The function must be started with an API_RATE above what is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	url := flag.String("url", "", "address of the API")
	clients := flag.Int("clients", 8, "requests at once")
	each := flag.Duration("for", 10*time.Second, "how long each resource is asked for")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("%-62s %8s %8s %8s %8s %8s\n", "resource", "a second", "p50 ms", "p99 ms", "CH p50", "CH p99")
	for _, path := range []string{
		"/api/v1/definitions", "/api/v1/repositories?limit=50", "/api/v1/repositories/facebook/react", "/api/v1/repositories/facebook/react/series?from=2025-01-01",
		"/api/v1/companies", "/api/v1/companies/meta/series?from=2025-01-01", "/api/v1/rankings", "/api/v1/overview?window=7d&days=90&limit=8", "/api/v1/signals",
	} {
		all, err := load(ctx, *url+path, *clients, *each)
		if err != nil {
			log.Fatal(err)
		}
		whole := percentiles(all, func(a answered) time.Duration { return a.whole })
		inside := percentiles(all, func(a answered) time.Duration { return a.clickhouse })
		fmt.Printf("%-62s %8.0f %8.1f %8.1f %8.1f %8.1f\n", path, float64(len(all))/each.Seconds(), whole[0], whole[1], inside[0], inside[1])
	}
}

// answered is how long one answer took, and ClickHouse for it.
type answered struct{ whole, clickhouse time.Duration }

// load asks for an address by several clients for some time.
func load(ctx context.Context, url string, clients int, long time.Duration) (all []answered, err error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			for ctx.Err() == nil {
				one, failed := ask(ctx, client, url)
				mu.Lock()
				if failed == nil {
					all = append(all, one)
				} else if ctx.Err() == nil {
					err = errors.Join(err, failed)
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	return all, err
}

func ask(ctx context.Context, client *http.Client, url string) (a answered, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return a, err
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a.whole = time.Since(began)
	if err != nil || resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s: %s %v %.200s", url, resp.Status, err, body)
	}
	if ms, ok := strings.CutPrefix(resp.Header.Get("Server-Timing"), "clickhouse;dur="); ok {
		a.clickhouse, err = time.ParseDuration(ms + "ms")
	}
	return a, err
}

// percentiles are the 50th and the 99th, in milliseconds.
func percentiles(all []answered, of func(answered) time.Duration) (out [2]float64) {
	if len(all) == 0 {
		return out
	}
	var times []time.Duration
	for _, a := range all {
		times = append(times, of(a))
	}
	slices.Sort(times)
	for i, p := range []int{50, 99} {
		out[i] = float64(times[(len(times)*p+99)/100-1].Microseconds()) / 1e3
	}
	return out
}
