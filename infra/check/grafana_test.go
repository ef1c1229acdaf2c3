//lint:file-ignore SA1019 every Grafana imports this form, and only the newest its successor

package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what follows from other files instead of comparing with it")

const grafanaFile = root + "/infra/grafana/operations.json"

// alertRule is one of infra/prometheus/rules.yaml.
type alertRule struct {
	Alert       string
	Expr        string
	Annotations struct{ Summary, RunbookURL string }
}

func alertRules(t *testing.T) []alertRule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	text := bytes.ReplaceAll(read(t, root+"/infra/prometheus/rules.yaml"), []byte("runbook_url:"), []byte("runbookURL:"))
	if err := yaml.Unmarshal(text, &file); err != nil || len(file.Groups) != 1 || len(file.Groups[0].Rules) < 10 {
		t.Fatalf("the rules of Prometheus: %v, %+v", err, file)
	}
	return file.Groups[0].Rules
}

// firing is a query for how often a rule fires now. It has no value where its figure has
// none: what nobody measures is not well.
func firing(expr string) string {
	if strings.HasPrefix(expr, "absent(") {
		return "count(" + expr + ") or vector(0)"
	}
	return "count(" + expr + ") or 0 * count(" + regexp.MustCompile(`m7pulse_[a-z_]+(\{[^}]*\})?`).FindString(expr) + ")"
}

// chart is a panel of lines.
type chart struct {
	title, what string
	unit        string
	queries     map[string]string // by what a line is called
}

// grafana is the dashboard Operations for Grafana: a tile for each alert, by its rule,
// and what the functions and the watch measure.
func grafana(t *testing.T) dashboard.Dashboard {
	t.Helper()
	source := common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
	query := func(expr, legend string) *prometheus.DataqueryBuilder {
		return prometheus.NewDataqueryBuilder().Expr(expr).LegendFormat(legend)
	}
	b := dashboard.NewDashboardBuilder("M7 Pulse: operations").Uid("m7pulse-operations").Tags([]string{"m7pulse"}).Readonly().Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Time("now-24h", "now").Refresh("1m").Timezone(common.TimeZoneUtc).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Prometheus").Type("prometheus")).
		WithRow(dashboard.NewRowBuilder("Alerts: red fires"))
	red := []dashboard.Threshold{{Color: "green"}, {Value: cog.ToPtr(1.0), Color: "red"}}
	for _, r := range alertRules(t) {
		b.WithPanel(stat.NewPanelBuilder().Title(r.Alert).Description(r.Annotations.Summary).Datasource(source).Span(4).Height(3).
			Links([]cog.Builder[dashboard.DashboardLink]{dashboard.NewDashboardLinkBuilder("What to do").Type(dashboard.DashboardLinkTypeLink).Url(r.Annotations.RunbookURL).TargetBlank(true)}).
			WithTarget(query(firing(r.Expr), r.Alert).Instant()).NoValue("unknown").
			Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(red)).
			ColorMode(common.BigValueColorModeBackground).GraphMode(common.BigValueGraphModeNone))
	}
	p95 := func(histogram, by string) string {
		return "histogram_quantile(0.95, sum by (" + by + ", le) (rate(" + histogram + "_bucket[$__rate_interval])))"
	}
	for _, row := range []struct {
		title  string
		charts []chart
	}{
		{"Data", []chart{
			{"Lag", "Records that a function has not stored yet.", units.Short, map[string]string{"{{reader}} {{topic}}": "m7pulse_watch_lag_records"}},
			{"Oldest record that waits", "Its age, by function and topic.", units.Seconds, map[string]string{"{{reader}} {{topic}}": "m7pulse_watch_lag_oldest_seconds"}},
			{"Completeness", "Repositories seen, of those expected, in each owner's newest sweep.", units.PercentUnit, map[string]string{"seen of expected": "m7pulse_watch_completeness_ratio"}},
			{"Age of the last sweep", "Since one has ended.", units.Seconds, map[string]string{"age": "m7pulse_watch_sweep_age_seconds"}},
			{"Rows", "What ClickHouse has twice until it merges it counts twice.", units.Short, map[string]string{"{{store}} {{table}}": "m7pulse_watch_rows"}},
			{"Memory of Redis", "Of all masters.", units.BytesIEC, map[string]string{"used": "m7pulse_watch_redis_memory_bytes"}},
		}},
		{"Functions", []chart{
			{"Records stored", "Records of committed blocks, a second.", units.CountsPerSecond, map[string]string{"{{function}} {{topic}}": "sum by (function, topic) (rate(m7pulse_block_records_sum[$__rate_interval]))"}},
			{"Time of a block", "From when it was gathered until it was committed: 95 % take less.", units.Seconds, map[string]string{"{{function}} {{topic}}": p95("m7pulse_block_seconds", "function, topic")}},
			{"Blocks that failed", "Each is tried again.", units.Short, map[string]string{"{{function}} {{topic}}": "sum by (function, topic) (increase(m7pulse_block_failures_total[$__rate_interval]))"}},
			{"Time of an event", "Until it was answered: 95 % take less.", units.Seconds, map[string]string{"{{function}} {{kind}}": p95("m7pulse_event_seconds", "function, kind")}},
			{"Answers other than success", "Events and requests answered 400 or more, a minute.", units.Short, map[string]string{
				"{{function}} events {{status}}":   `60 * sum by (function, status) (rate(m7pulse_event_seconds_count{status!~"2.."}[$__rate_interval]))`,
				"{{function}} requests {{status}}": `60 * sum by (function, code) (rate(m7pulse_request_seconds_count{code!~"[123].."}[$__rate_interval]))`,
			}},
			{"Cold starts", "Requests that were the first of their process, an hour.", units.Short, map[string]string{"{{function}}": "3600 * sum by (function) (rate(m7pulse_cold_starts_total[$__rate_interval]))"}},
			{"Memory of a process", "Resident.", units.BytesIEC, map[string]string{"{{function}}": `max by (function) (process_resident_memory_bytes * on (instance, job) group_left (function) (m7pulse_failing * 0 + 1))`}},
			{"Breakers that are not closed", "A store has failed three blocks in a row.", units.Short, map[string]string{"{{function}} {{state}}": `m7pulse_breaker{state!="closed"}`}},
		}},
		{"GitHub", []chart{
			{"Points left", "At the last answer, by user and API.", units.Short, map[string]string{"{{user}} {{api}}": "min by (user, api) (m7pulse_github_points_left)"}},
			{"Points an hour", "That queries cost.", units.Short, map[string]string{"{{query}}": "3600 * sum by (query) (rate(m7pulse_github_points_total[$__rate_interval]))"}},
			{"Time of a query", "GitHub's: 95 % take less.", units.Seconds, map[string]string{"{{query}}": p95("m7pulse_github_query_seconds", "query")}},
			{"Repositories of a page", "95 % ask for fewer.", units.Short, map[string]string{"{{query}}": p95("m7pulse_github_page_width", "query")}},
		}},
	} {
		b.WithRow(dashboard.NewRowBuilder(row.title))
		for _, c := range row.charts {
			panel := timeseries.NewPanelBuilder().Title(c.title).Description(c.what).Datasource(source).Span(12).Height(8).Unit(c.unit).Min(0).
				Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true))
			for _, legend := range slices.Sorted(maps.Keys(c.queries)) {
				panel.WithTarget(query(c.queries[legend], legend))
			}
			b.WithPanel(panel)
		}
	}
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// The dashboard follows from the rules of the alerts: `make fields` writes it.
func TestGrafanasDashboardIsMadeOfTheAlerts(t *testing.T) {
	want, err := json.MarshalIndent(grafana(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.MkdirAll(filepath.Dir(grafanaFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(grafanaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, grafanaFile), want) {
		t.Errorf("%s is not what follows from the alerts: make fields writes it", grafanaFile)
	}
}

// Grafana's own types read it strictly, Prometheus takes each of its queries, and each
// metric in them is one that the documents name.
func TestGrafanaAndPrometheusTakeTheDashboard(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	var d dashboard.Dashboard
	err := d.UnmarshalJSONStrict(read(t, grafanaFile))
	var faults cog.BuildErrors
	if errors.As(err, &faults) && len(faults) == 0 {
		err = nil // without a fault it returns an empty list of them as an error
	}
	if err != nil {
		t.Fatalf("Grafana's types do not take %s: %v", grafanaFile, err)
	}
	if err := d.Validate(); err != nil {
		t.Fatalf("%s: %v", grafanaFile, err)
	}
	var plain struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(read(t, grafanaFile), &plain); err != nil {
		t.Fatal(err)
	}
	var queries []string
	for _, p := range plain.Panels {
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	if len(queries) < 30 {
		t.Fatalf("%d queries", len(queries))
	}

	documented := string(read(t, root+"/docs/telemetry.md")) + string(read(t, root+"/docs/runbook.md"))
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	for i, q := range queries {
		for _, name := range regexp.MustCompile(`m7pulse_[a-z_]+`).FindAllString(q, -1) {
			if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); !strings.Contains(documented, base) {
				t.Errorf("no document names the metric %s of %s", base, q)
			}
		}
		rules.WriteString("      - {record: q" + strconv.Itoa(i) + ", expr: " + strconv.Quote(strings.ReplaceAll(q, "$__rate_interval", "5m")) + "}\n")
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("the queries were not read by Prometheus: promtool is not on PATH: apt-get install prometheus")
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
