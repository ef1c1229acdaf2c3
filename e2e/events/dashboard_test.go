package events_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// Superset's template in a dataset of the dashboard Contributors and Flow: what is set
// from its filters, and where that is put.
var statement = regexp.MustCompile(`(?s)\{%.*%\}\n`)

// The datasets are the API's queries, as a test of infra/local/superset says: here
// ClickHouse answers them, with what the dashboard's filters may put into them.
func TestDashboardOfFlowShowsWhatTheAPISays(t *testing.T) {
	w := &world{t: t, owner: "shown"}
	w.repository(171, "tool", row{"observed_at": day(294), "stars": 10, "forks": 1}, row{"observed_at": day(295).Add(time.Hour), "stars": 15, "forks": 3})
	w.repository(172, "other")
	for i, who := range []string{"ada", "ada", "bob"} {
		w.happens(171, day(280+i), "PullRequestEvent", "opened", who, pull(int64(i)))
		w.happens(171, day(281+i), "PullRequestReviewEvent", "created", "cy", pull(int64(i)))
		w.happens(171, day(283+i), "PullRequestEvent", "merged", "cy", pull(int64(i)))
	}
	w.happens(172, day(290), "IssuesEvent", "opened", "dora", issue(1), begun("dora", day(290)))
	w.happens(172, day(292), "IssueCommentEvent", "created", "ada", issue(1), begun("dora", day(290)))
	for range 7 {
		w.happens(171, day(295), "WatchEvent", "started", "eve")
	}
	w.happens(171, day(295), "PushEvent", "", "ada")
	w.happens(171, day(295), "ForkEvent", "forked", "eve") // of two
	w.store()
	insert(t, "github_feed_reads", row{"repo_id": 171, "status": "complete", "read_at": day(0)}, row{"repo_id": 171, "status": "complete", "since": day(0), "read_at": day(297)})

	ask := map[string]func(columns, where string) string{}
	files, err := filepath.Glob("../../infra/superset/flow/datasets/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d datasets (%v)", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dataset struct {
			Name    string `json:"table_name"`
			SQL     string
			Columns []struct {
				Name string `json:"column_name"`
			}
			Metrics []struct {
				Name       string `json:"metric_name"`
				Expression string
			}
		}
		if err := yaml.Unmarshal(text, &dataset); err != nil {
			t.Fatal(err)
		}
		query := strings.ReplaceAll(statement.ReplaceAllString(dataset.SQL, ""), "{{ days }}", "90")
		chosen := strings.ReplaceAll(query, "{{ chosen }}", "repo_id IN (SELECT repo_id FROM pulse.repositories WHERE true AND owner IN ('shown'))")
		if strings.Contains(chosen, "{") && strings.Contains(chosen, "%}") {
			t.Fatalf("%s: a part of the template is left:\n%s", dataset.Name, chosen)
		}
		var columns, metrics []string
		for _, c := range dataset.Columns {
			columns = append(columns, c.Name)
		}
		for _, m := range dataset.Metrics {
			metrics = append(metrics, m.Expression)
		}
		for _, all := range [][]string{columns, metrics} {
			if len(all) == 0 {
				continue
			}
			for _, q := range []string{chosen, strings.ReplaceAll(query, "{{ chosen }}", "true")} {
				if _, err := store.Ask(t.Context(), "SELECT "+strings.Join(all, ", ")+" FROM ("+q+") AS virtual_table FORMAT Null"); err != nil {
					t.Errorf("%s: %v", dataset.Name, err)
				}
			}
		}
		ask[dataset.Name] = func(columns, where string) string {
			return "SELECT " + columns + " FROM (" + chosen + ") AS virtual_table WHERE " + where
		}
	}
	if t.Failed() {
		return
	}
	for name, of := range map[string]struct {
		columns, where string
		lines          []string
	}{
		"flow_contributors":  {"active, new, continuing", "days = 30 AND kind = 'people'", []string{"4 \\N 0"}},
		"flow_concentration": {"merged_by_people, people, round(top_1, 2), bus_factor", "true", []string{"3 2 0.67 1"}},
		"flow_people":        {"account, all_merged, all_contributions", "all_merged > 0", []string{"ada 2 4", "bob 1 1"}},
		"flow_companies":     {"company, merged, people, bus_factor, review, merge", "true", []string{"Shown 3 2 1 24 72"}},
		"flow_repositories":  {"repository, company, merged, top_3, merge", "true", []string{"shown/tool Shown 3 1 72"}},
		"flow_waits":         {"items, ended, median, p90", "measure = 'issue first response'", []string{"1 1 48 48"}},
		"flow_done":          {"toDate(day), opened, merged", "kind = 'pull_request' AND merged > 0", []string{"2026-10-11 0 1", "2026-10-12 0 1", "2026-10-13 0 1"}},
		"flow_gross":         {"gained, net", "counter = 'stars'", []string{"7 5"}},
		"flow_hours":         {"weekday_name, hour_name, pushes", "true", []string{"5 Fri 00 1"}},
		"flow_coverage":      {"stored, moved, share, verdict", "kind = 'all'", []string{"1 2 0.5 incomplete"}},
	} {
		if ask[name] == nil {
			t.Errorf("no dataset %s", name)
			continue
		}
		got, err := store.Ask(t.Context(), ask[name](of.columns, of.where)+" FORMAT TSV")
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Split(strings.ReplaceAll(got, "\t", " "), "\n"); !slices.Equal(lines, of.lines) {
			t.Errorf("%s: got\n%q\nwant\n%q", name, lines, of.lines)
		}
		delete(ask, name)
	}
	for name := range ask {
		t.Errorf("no figure of %s is looked at", name)
	}
}
