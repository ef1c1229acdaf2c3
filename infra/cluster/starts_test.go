//go:build integration

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var starts = flag.Int("starts", 1, "how often each function, and all of them for one observation, are started from zero and timed")

// durations are those of one function, in the order in which they were seen.
type durations []time.Duration

// String says the median and the 95th of a hundred.
func (d durations) String() string {
	sorted := slices.Sorted(slices.Values(d))
	if len(sorted) == 0 {
		return "none"
	}
	at := func(of100 int) float64 { return sorted[min(len(sorted)*of100/100, len(sorted)-1)].Seconds() }
	return fmt.Sprintf("%.1f, %.1f s", at(50), at(95))
}

// wantStarts times what a person and a source see of functions at zero.
func (b *bench) wantStarts() {
	answered, gone := map[string]durations{}, map[string]durations{}
	var hot, both durations
	for n := range *starts {
		b.wantZero()
		since := map[string]time.Time{}
		for _, name := range b.names {
			pods, err := b.pods()
			if err != nil {
				b.Fatal(err)
			}
			if slices.ContainsFunc(pods, func(p pod) bool { return p.function() == name }) {
				continue // a tick has woken it meanwhile
			}
			began := time.Now()
			if status, text := b.wake(name); status/100 != 2 {
				b.Fatalf("%s answers %d: %s", name, status, text)
			}
			since[name] = time.Now()
			answered[name] = append(answered[name], since[name].Sub(began))
		}
		b.until(10*time.Minute, "all functions at zero", func() error {
			pods, err := b.pods()
			if err != nil {
				return err
			}
			for name, at := range since {
				if !slices.ContainsFunc(pods, func(p pod) bool { return p.function() == name }) {
					gone[name] = append(gone[name], time.Since(at))
					delete(since, name)
				}
			}
			if len(since) > 0 {
				return fmt.Errorf("%d have a pod", len(since))
			}
			return nil
		})
		inHot, inBoth := b.storeOne(n)
		hot, both = append(hot, inHot), append(both, inBoth)
	}
	for _, name := range b.names {
		b.Logf("%-16s from zero to its answer %s; from that to zero %s (median and 95th of 100, of %d)", name, answered[name], gone[name], len(answered[name]))
	}
	b.Logf("an observation in Kafka, all at zero: in ClickHouse after %s, in both stores and none has work left after %s", hot, both)
}

// storeOne puts an observation of a new repository in Kafka while all functions are at
// zero, and returns when ClickHouse had it and when no stage had work left.
func (b *bench) storeOne(n int) (hot, both time.Duration) {
	b.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	id := 1<<40 + now.Unix()
	text, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": fmt.Sprint("start-", id), "type": "dev.m7pulse.repo.observed.v1", "source": "/test", "subject": fmt.Sprint("cold/start-", n),
		"time": now, "datacontenttype": "application/json",
		"data": map[string]any{"repo_id": id, "name_with_owner": fmt.Sprint("cold/start-", n), "owner_type": "Organization", "observed_at": now, "sweep_id": now, "source": "replay", "stars": 1},
	})
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "one.jsonl")
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		b.Fatal(err)
	}
	before := b.wantClean()
	if _, err := b.pulse("replay", path); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	b.until(5*time.Minute, "the observation to be in ClickHouse", func() error {
		query := fmt.Sprintf("SELECT count() FROM pulse.github_processed_repos WHERE repo_id = %d", id)
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, b.env["CLICKHOUSE_URL"], strings.NewReader(query))
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if count, err := io.ReadAll(answer.Body); err != nil || strings.TrimSpace(string(count)) != "1" {
			return fmt.Errorf("%d: %s, %v", answer.StatusCode, count, err)
		}
		return nil
	})
	hot = time.Since(began)
	after := b.wantClean()
	if after.Observations != before.Observations+1 {
		b.Errorf("%d observations, want %d", after.Observations, before.Observations+1)
	}
	return hot, time.Since(began)
}
