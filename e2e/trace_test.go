package e2e

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/m7pulse/m7pulse/infra/local/collector"
	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/download"
	"github.com/m7pulse/m7pulse/traces"
)

// One trace leads from the tick of a sweep, through Kafka and every function, to the row
// of each repository in both stores, and what the functions have measured is kept after
// they have scaled to zero.
func TestASweepIsTracedAndMeasuredFromTheTickToTheRowsInBothStores(t *testing.T) {
	long(t)
	world := github.NewWorld()
	facebook := &github.Owner{Login: "facebook", Type: "Organization"}
	for i := range 60 {
		facebook.Repos = append(facebook.Repos, &github.Repo{ID: int64(9000 + i), Name: fmt.Sprintf("r%d", i), Branch: "main", CreatedAt: world.Owners[0].Repos[0].CreatedAt, PushedAt: world.Owners[0].Repos[0].PushedAt})
	}
	world.Owners = []*github.Owner{facebook}
	emulator, err := github.New(world, "token-of-a-test")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(emulator)
	defer server.Close()
	cache, err := download.Dir()
	if err != nil {
		t.Fatal(err)
	}
	// Built here, it does not count in the time that one command may take.
	if _, err := collector.Build(t.Context(), collector.Config{Source: "../infra/collector", Cache: cache}); err != nil {
		t.Fatal(err)
	}
	p := newPulse(t, "GITHUB_TOKEN=token-of-a-test", "GITHUB_GRAPHQL_URL="+server.URL, "OWNERS=facebook", "OWNERS_FILE=")
	p.run("up", "--detach", "--trace", "--idle-after", "3s")
	if a := p.audit(); a.Observations != 60 || !a.Clean {
		t.Errorf("audit: %+v", a)
	}
	var all, one []*traces.Node
	read := func(to *[]*traces.Node, args ...string) {
		t.Helper()
		p.json(to, append([]string{"trace"}, args...)...)
	}
	const page = "tick sweep > receive dev.m7pulse.owner.fetch.requested.v1 > read list > publish github.base_repos > process github.base_repos > "
	wanted := []string{
		page + "commit", page + "read histories", page + "write histories",
		page + "process github.processed_repos > store > INSERT pulse.github_metrics_timeseries",
		page + "process github.processed_repos > store > commit processed_repos",
		strings.TrimSuffix(page, "process github.base_repos > ") + "process github.base_repos > store > commit base_repos",
	}
	pages := map[string]bool{}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(300 * time.Millisecond) { // spans are sent each second
		read(&all)
		rows := map[string]bool{}
		walk(all, nil, func(n *traces.Node, path []string) {
			rows[strings.Join(path, " > ")] = true
			if n.Name == "read list" {
				pages[n.ID] = true
			}
		})
		missing := slices.DeleteFunc(slices.Clone(wanted), func(path string) bool { return rows[path] })
		if len(missing) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no spans %q", missing)
		}
	}
	if len(all) != 1 || all[0].Name != "tick sweep" {
		t.Fatalf("%d trees, the first of %q", len(all), all[0].Name)
	}
	walk(all, nil, func(n *traces.Node, _ []string) {
		if n.Trace != all[0].Trace {
			t.Errorf("%s is of another trace", n.Name)
		}
	})
	if len(pages) < 2 {
		t.Fatalf("%d pages: nothing to choose from", len(pages))
	}
	read(&one, "facebook/r1")
	seen := 0
	walk(one, nil, func(n *traces.Node, _ []string) {
		if pages[n.ID] {
			seen++
		}
	})
	if len(one) != 1 || one[0].Name != "tick sweep" || seen != 1 {
		t.Errorf("of one repository: %d trees with %d pages, want that of its tick with one", len(one), seen)
	}
	p.wantMetricsOfFunctionsAtZero()
	p.wantOperations()
}

// wantOperations asks what the charts of the dashboard of operations ask: each dataset
// has rows, and each metric of it a value.
func (p *pulse) wantOperations() {
	p.t.Helper()
	files, err := filepath.Glob("../infra/superset/operations/datasets/*/*.yaml")
	if err != nil || len(files) != 3 {
		p.t.Fatalf("%v: datasets %q", err, files)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			p.t.Fatal(err)
		}
		var dataset struct {
			SQL     string
			Metrics []struct {
				Name       string `json:"metric_name"`
				Expression string
			}
			Columns []struct {
				Name string `json:"column_name"`
			}
		}
		if err := yaml.Unmarshal(data, &dataset); err != nil {
			p.t.Fatal(err)
		}
		for _, c := range dataset.Columns {
			if p.query("SELECT count("+c.Name+") > 0 FROM ("+dataset.SQL+")") != "1" {
				p.t.Errorf("%s: nothing in %s", file, c.Name)
			}
		}
		for _, m := range dataset.Metrics {
			if v := p.query("SELECT " + m.Expression + " FROM (" + dataset.SQL + ")"); v == "" || v == "not measured" || v == "no sweep" || v == "not asked" || v == "nan" {
				p.t.Errorf("%s: %s is %q", file, m.Name, v)
			}
		}
	}
}

// wantMetricsOfFunctionsAtZero waits until no function runs, and looks whether the
// metrics that they have left say all that they did.
func (p *pulse) wantMetricsOfFunctionsAtZero() {
	p.t.Helper()
	p.until(90*time.Second, "all functions at zero", func() bool { return len(p.replicas()) == 0 })
	// Of each process the last that it has sent.
	last := func(table, value, metric string) string {
		return fmt.Sprintf(`(SELECT Attributes['function'] AS function, Attributes['topic'] AS topic, Attributes['state'] AS state, argMax(%s, TimeUnix) AS value
			FROM otel.%s WHERE MetricName = '%s' GROUP BY function, topic, state, Attributes, ResourceAttributes['service.instance.id'])`, value, table, metric)
	}
	// Each minute, and at last when the stack stops, the watch measures what no function knows.
	p.until(90*time.Second, "the watch has measured the sweep", func() bool {
		return p.query("SELECT count() FROM "+last("otel_metrics_gauge", "Value", "m7pulse_watch_completeness_ratio")+" WHERE value = 1") == "1" &&
			p.query("SELECT max(Value) FROM otel.otel_metrics_gauge WHERE MetricName = 'm7pulse_watch_rows' AND Attributes['table'] = 'github_metrics_timeseries'") == "60"
	})
	for query, want := range map[string]string{
		"SELECT DISTINCT MetricName FROM otel.otel_metrics_gauge WHERE ServiceName = 'watch' AND MetricName IN ('m7pulse_watch_lag_records', 'm7pulse_watch_lag_oldest_seconds', 'm7pulse_watch_sweep_age_seconds', 'm7pulse_watch_github_work_seconds_left', 'm7pulse_watch_redis_memory_bytes') ORDER BY 1": "m7pulse_watch_github_work_seconds_left\nm7pulse_watch_lag_oldest_seconds\nm7pulse_watch_lag_records\nm7pulse_watch_redis_memory_bytes\nm7pulse_watch_sweep_age_seconds",
		"SELECT toInt64(max(Value)) FROM otel.otel_metrics_gauge WHERE MetricName = 'm7pulse_watch_rows' AND Attributes['store'] = 'cold' AND Attributes['table'] = 'processed_repos'":                                                                                                                        "60",
		"SELECT function, topic, toInt64(sum(value)) FROM " + last("otel_metrics_histogram", "Sum", "m7pulse_block_records") + " WHERE topic IN ('github.base_repos', 'github.processed_repos') GROUP BY 1, 2 ORDER BY 1, 2":                                                                                  "aggregate github.base_repos 60\nsink-clickhouse github.processed_repos 60\nsink-iceberg github.base_repos 60\nsink-iceberg github.processed_repos 60",
		"SELECT sum(value) > 0 FROM " + last("otel_metrics_histogram", "Count", "m7pulse_github_page_width"):                                                                                                                                                                                                  "1",
		"SELECT max(value) > 0 FROM " + last("otel_metrics_gauge", "Value", "m7pulse_github_points_left"):                                                                                                                                                                                                     "1",
		"SELECT function FROM " + last("otel_metrics_sum", "Value", "m7pulse_cold_starts_total") + " WHERE function = 'aggregate' AND value = 1 LIMIT 1":                                                                                                                                                      "aggregate",
		"SELECT DISTINCT function FROM " + last("otel_metrics_gauge", "Value", "m7pulse_breaker") + " WHERE state = 'closed' AND value = 1 AND function LIKE 'sink%' ORDER BY 1":                                                                                                                              "sink-clickhouse\nsink-iceberg",
		"SELECT count() FROM system.tables WHERE database = 'otel' AND name LIKE 'otel_metrics%' AND create_table_query LIKE '%toIntervalDay(3)%' AND name IN ('otel_metrics_gauge', 'otel_metrics_sum', 'otel_metrics_histogram')":                                                                           "3",
	} {
		var got string
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(300 * time.Millisecond) { // the Collector writes each 200 ms
			if got = p.query(query); got == want {
				break
			}
			if time.Now().After(deadline) {
				p.t.Errorf("%s\n%s\nwant\n%s", query, got, want)
				break
			}
		}
	}
}

func walk(nodes []*traces.Node, path []string, each func(*traces.Node, []string)) {
	for _, n := range nodes {
		at := append(path[:len(path):len(path)], n.Name)
		each(n, at)
		walk(n.Children, at, each)
	}
}
