package alert

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

var update = flag.Bool("update", false, "write what the definitions say instead of comparing with it")

// What follows from the definitions is written by `make fields`.
func TestRulesAndDocumentOfTheAlertsAreUpToDate(t *testing.T) {
	const book, begin, end = "../docs/runbook.md", "<!-- alerts -->\n", "<!-- end of alerts -->"
	have, err := os.ReadFile(book)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(have), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the alerts", book)
	}
	for path, want := range map[string]string{book: head + begin + "\n" + Runbook() + end + tail, "../infra/prometheus/rules.yaml": Rules()} {
		have, err := os.ReadFile(path)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if err != nil || string(have) != want {
			t.Errorf("%s is not what the definitions say (%v): make fields writes it", path, err)
		}
	}
}

func TestEachAlertIsDefinedOnceAndWhole(t *testing.T) {
	kinds, figures := map[string]bool{}, map[string]bool{}
	for _, d := range Definitions() {
		if kinds[d.Kind] || figures[d.Figure] || d.Severity() == "" || d.Help == "" || d.Means == "" || d.Check == "" || d.Cure == "" {
			t.Errorf("%+v", d)
		}
		kinds[d.Kind], figures[d.Figure] = true, true
	}
	for _, k := range signal.Kinds() {
		if k.Function == "watch" && k.Kind != signal.AlertCleared && !kinds[k.Kind] {
			t.Errorf("no alert raises %s", k.Kind)
		}
	}
}

// promtool of Prometheus itself holds the rules to its syntax, and each alert to a fault
// and its end.
func TestPrometheusTakesTheRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not on PATH: apt-get install prometheus")
	}
	var tests strings.Builder
	tests.WriteString("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n")
	for _, d := range Definitions() {
		well, ill := d.Threshold, d.Threshold+1
		if d.Below {
			ill = d.Threshold - 0.001
		}
		tests.WriteString("  - interval: 1m\n    input_series:\n")
		for _, other := range Definitions() {
			values := strings.TrimSpace(strings.Repeat(number(other.Threshold)+" ", 8))
			if other.Kind == d.Kind {
				values = strings.Join([]string{number(well), number(well), number(ill), number(ill), number(well), number(well), number(well), number(well)}, " ")
			}
			tests.WriteString("      - {series: " + other.Metric() + ", values: '" + values + "'}\n")
		}
		tests.WriteString("    alert_rule_test:\n")
		for minute, fires := range []bool{false, false, true, true, false} {
			tests.WriteString("      - {eval_time: " + number(float64(minute)) + "m, alertname: " + d.Kind)
			if fires {
				tests.WriteString(", exp_alerts: [{exp_labels: {severity: " + d.Severity() + "}, exp_annotations: {summary: '" + strings.ReplaceAll(d.Means, "'", "''") +
					"', runbook_url: 'https://github.com/m7pulse/m7pulse/blob/main/docs/runbook.md#" + d.Kind + "'}}]")
			}
			tests.WriteString("}\n")
		}
	}
	tests.WriteString("  - interval: 1m\n    input_series: []\n    alert_rule_test:\n      - {eval_time: 1m, alertname: watch_silent}\n" +
		"      - {eval_time: 3m, alertname: watch_silent, exp_alerts: [{exp_labels: {severity: critical}, exp_annotations: {summary: 'Nothing watches: pulse watch is down, or is not scraped.', runbook_url: 'https://github.com/m7pulse/m7pulse/blob/main/docs/runbook.md#watch_silent'}}]}\n")
	// A breaker that stays open is half-open now and then, which is no end.
	tests.WriteString("  - interval: 1m\n    input_series:\n" +
		"      - {series: 'm7pulse_breaker{function=\"sink-clickhouse\",state=\"closed\"}', values: '1 0 0 0 0 0 0 0 1 1'}\n" +
		"      - {series: 'm7pulse_breaker{function=\"sink-clickhouse\",state=\"half-open\"}', values: '0 0 0 1 0 1 0 0 0 0'}\n" +
		"      - {series: 'm7pulse_breaker{function=\"sink-clickhouse\",state=\"open\"}', values: '0 1 1 0 1 0 1 1 0 0'}\n" +
		"      - {series: 'm7pulse_breaker{function=\"aggregate\",state=\"closed\"}', values: '1x10'}\n    alert_rule_test:\n" +
		"      - {eval_time: 5m, alertname: breaker_open}\n" +
		"      - {eval_time: 6m, alertname: breaker_open, exp_alerts: [{exp_labels: {severity: warning, function: sink-clickhouse}, exp_annotations: {summary: 'The breaker before a store is open.', runbook_url: 'https://github.com/m7pulse/m7pulse/blob/main/docs/runbook.md#m7pulse_breakerstateclosed--0-for-5-minutes'}}]}\n" +
		"      - {eval_time: 8m, alertname: breaker_open}\n")
	dir := t.TempDir()
	rules, err := os.ReadFile("../infra/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"rules.yaml": string(rules), "tests.yaml": tests.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "tests.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// well is a reading in which nothing fires.
func well() Reading {
	r := Reading{Figures: map[string]float64{}, Details: map[string]string{}}
	for _, d := range Definitions() {
		r.Figures[d.Figure] = d.Threshold
	}
	return r
}

// watcher settles readings, a minute apart, and gathers what is announced.
type watcher struct {
	t        *testing.T
	rdb      redis.UniversalClient
	episodes *Episodes
	now      time.Time
	said     []string // kind of each signal, by id once
	ids      map[string]bool
	refuse   bool
}

func newWatcher(t *testing.T) *watcher {
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	return &watcher{t: t, rdb: rdb, episodes: NewEpisodes(rdb), now: time.Date(2026, 5, 1, 10, 0, 30, 0, time.UTC), ids: map[string]bool{}}
}

// killed has another process take over.
func (w *watcher) killed() { w.episodes = NewEpisodes(w.rdb) }

func (w *watcher) settle(r Reading) {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	err := w.episodes.Settle(w.t.Context(), w.now, r, func(_ context.Context, signals []*event.Signal) error {
		for _, s := range signals {
			if err := s.Validate(w.now); err != nil {
				w.t.Error(err)
			}
			if !w.ids[s.ID] { // as a store keeps it
				w.said = append(w.said, s.Kind)
			}
			w.ids[s.ID] = true
		}
		if w.refuse {
			return errors.New("the acknowledgement is lost")
		}
		return nil
	})
	if err != nil && !w.refuse {
		w.t.Error(err)
	}
}

func (w *watcher) want(kinds ...string) {
	w.t.Helper()
	if !slices.Equal(w.said, kinds) {
		w.t.Errorf("announced %v, want %v", w.said, kinds)
	}
}

// Each alert is raised once by its fault, whatever happens to the watch, and cleared
// once after it.
func TestEachAlertIsRaisedOnceAndCleared(t *testing.T) {
	for _, d := range Definitions() {
		t.Run(d.Kind, func(t *testing.T) {
			ill := well()
			ill.Figures[d.Figure]++
			if d.Below {
				ill.Figures[d.Figure] = d.Threshold / 2
			}
			w := newWatcher(t)
			w.settle(well())
			w.want()
			for range 3 {
				w.settle(ill)
			}
			if d.RaisedBy != "" { // its signal comes from elsewhere
				w.want()
				return
			}
			w.want(d.Kind)
			w.killed()
			w.settle(ill)
			w.settle(Reading{}) // nothing could be read: that is no end
			w.want(d.Kind)
			w.settle(well())
			w.settle(well())
			w.want(d.Kind, signal.AlertCleared)
			w.settle(ill) // another episode
			w.want(d.Kind, signal.AlertCleared, d.Kind)
		})
	}
}

// Killed after Kafka has the signal and before that is noted, the watch writes it again
// under the same id.
func TestAnAlertWhoseAcknowledgementIsLostKeepsItsID(t *testing.T) {
	ill := well()
	ill.Figures["dead_letters"] = 3
	w := newWatcher(t)
	w.refuse = true
	w.settle(ill)
	w.killed()
	w.refuse = false
	w.settle(ill)
	w.want(signal.DeadLettersWaiting)
	w.refuse = true
	w.settle(well())
	w.killed()
	w.refuse = false
	w.settle(well())
	w.want(signal.DeadLettersWaiting, signal.AlertCleared)
}

// Of sweeps that are missing, the time counts from the first: at the ticks after it the
// alert goes on.
func TestDataIsLateSinceTheFirstSweepThatIsMissing(t *testing.T) {
	at := func(clock string) time.Time {
		all, err := time.Parse(time.DateTime, "2026-05-01 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for _, of := range []struct {
		newest, now time.Time
		period      time.Duration
		want        time.Duration
	}{
		{at("10:00:07"), at("10:59:59"), time.Hour, 0},
		{at("10:00:07"), at("11:00:00"), time.Hour, 0},
		{at("10:00:07"), at("11:01:01"), time.Hour, 61 * time.Second},
		{at("10:59:58"), at("11:01:01"), time.Hour, 61 * time.Second}, // of a sweep that took long
		{at("11:00:00"), at("11:01:01"), time.Hour, 0},
		{at("10:00:07"), at("12:00:01"), time.Hour, time.Hour + time.Second}, // another is missing
		{at("10:00:07"), at("15:30:00"), time.Hour, 4*time.Hour + 30*time.Minute},
		{at("10:00:07"), at("10:02:01"), time.Minute, 61 * time.Second},
		{time.Unix(0, 0), at("12:00:01"), time.Hour, time.Hour + time.Second}, // nothing was ever stored
	} {
		if got := late(of.newest, of.now, of.period); got != of.want {
			t.Errorf("newest %s, now %s, each %s: late by %s, want %s", of.newest.Format(time.TimeOnly), of.now.Format(time.TimeOnly), of.period, got, of.want)
		}
	}
}

// What a worker of Kafka Connect 4.2 says of its connectors.
func TestFailedConnectorsAndTasksAreCounted(t *testing.T) {
	for name, of := range map[string]struct {
		status   int
		body     string
		failures float64
		detail   string
	}{
		"works":             {200, `{"archive":{"status":{"name":"archive","connector":{"state":"RUNNING"},"tasks":[{"id":0,"state":"RUNNING"}],"type":"sink"}}}`, 0, " It is "},
		"paused":            {200, `{"archive":{"status":{"connector":{"state":"PAUSED"},"tasks":[{"id":0,"state":"PAUSED"}]}}}`, 0, " It is "},
		"has none":          {200, `{}`, 0, " It is "},
		"a task has failed": {200, `{"archive":{"status":{"connector":{"state":"RUNNING"},"tasks":[{"id":0,"state":"RUNNING"},{"id":1,"state":"FAILED","trace":"java.lang…"}]}}}`, 1, " It is task 1 of archive"},
		"all have failed":   {200, `{"b":{"status":{"connector":{"state":"FAILED"},"tasks":[]}},"a":{"status":{"connector":{"state":"RUNNING"},"tasks":[{"id":0,"state":"FAILED"}]}}}`, 2, " It is task 0 of a, b"},
		"is starting":       {404, `{"error_code":404}`, 1, " The worker does not answer"},
		"something else":    {200, `<html>`, 1, " The worker does not answer"},
		"more than is read": {200, `{"archive":{"status":{"connector":{"state":"` + strings.Repeat("R", connectorsLimit) + `"}}}}`, 1, " The worker does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.String() != "/connectors?expand=status" {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(of.status)
				_, _ = io.WriteString(w, of.body)
			}))
			defer worker.Close()
			r := Reading{Figures: map[string]float64{}, Details: map[string]string{}}
			Sources{Env: map[string]string{"CONNECT_URL": worker.URL + "/"}}.readConnect(t.Context(), &r)
			if got, known := r.Figures["connect_failures"]; !known || got != of.failures || r.Details["connect_failures"] != of.detail {
				t.Errorf("%v %v, %q; want %v, %q", got, known, r.Details["connect_failures"], of.failures, of.detail)
			}
		})
	}
}
