package superset_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// flowQueries are the datasets of the dashboard Contributors and Flow: the queries of
// the API, which the dashboard's filters complete.
func flowQueries() map[string]string {
	const (
		repositories = `(SELECT repo_id, label, company_name FROM pulse.repositories ORDER BY repo_id)`
		company      = `transform(repo_id, (SELECT groupArray(repo_id) FROM ` + repositories + `), (SELECT groupArray(company_name) FROM ` + repositories + `), '')`
		hours        = `median_seconds / 3600 AS median, p90_seconds / 3600 AS p90`
	)
	all := hot.Terms{Newest: "assumeNotNull(" + hot.NewestEvent + ")", Days: "{{ days }}", Where: "{{ chosen }}", By: hot.Together}
	by := func(expression string) hot.Terms {
		t := all
		t.By = expression
		return t
	}
	within := func(query string) string { return "(\n" + indent(query) + "\n)" }
	// work is how concentrated work is and how long it waits, side by side.
	work := func(t hot.Terms) string {
		return within(hot.ConcentrationQuery(t)) + ` AS c LEFT JOIN (
  SELECT part, maxIf(median_seconds, measure = 'issue_first_response') AS issue_response, maxIf(median_seconds, measure = 'pull_request_first_review') AS review,
    maxIf(median_seconds, measure = 'pull_request_merge') AS merge
  FROM ` + within(hot.WaitingTimesQuery(t)) + ` GROUP BY part
) AS w ON w.part = c.part`
	}
	const columns = `c.merged_by_people AS merged, c.merged_by_bots AS merged_by_bots, c.people AS people, c.top_1 AS top_1, c.top_3 AS top_3, c.bus_factor AS bus_factor,
  w.issue_response / 3600 AS issue_response, w.review / 3600 AS review, w.merge / 3600 AS merge`
	return map[string]string{
		"flow_contributors":  hot.ContributorsQuery(all),
		"flow_concentration": hot.ConcentrationQuery(all),
		"flow_people":        hot.TopQuery(all),
		"flow_companies":     "SELECT c.part AS company, " + columns + "\nFROM " + work(by(company)),
		"flow_repositories": "SELECT r.label AS repository, r.company_name AS company, " + columns + "\nFROM " + work(by("repo_id")) + `
JOIN ` + repositories + ` AS r ON r.repo_id = c.part`,
		"flow_waits": "SELECT * REPLACE (replaceAll(measure, '_', ' ') AS measure), " + hours + " FROM " + within(hot.WaitingTimesQuery(all)),
		"flow_done":  "SELECT part AS day, * FROM " + within(hot.ThroughputQuery(by("toStartOfDay(created_at)"))),
		"flow_gross": hot.GrossQuery(all),
		"flow_hours": "SELECT ['1 Mon', '2 Tue', '3 Wed', '4 Thu', '5 Fri', '6 Sat', '7 Sun'][weekday] AS weekday_name, leftPad(toString(hour), 2, '0') AS hour_name, pushes, releases FROM " +
			within(hot.WeekHoursQuery(all)),
		"flow_coverage": "SELECT *, (SELECT countIf(source = '" + repo.Simulated + "') > 0 FROM pulse.repositories) AS simulated FROM " +
			within(hot.CoverageQuery(all, "toDate("+all.Newest+") - {{ days }}", "toDate("+all.Newest+")")),
	}
}

// filters puts what is chosen on the dashboard into days and chosen.
const filters = `{% set days = {'30 days': 30, '90 days': 90, '180 days': 180, '1 year': 366}.get((filter_values('period') or ['90 days'])[0], 90) %}
{% set chosen %}{% if filter_values('repository') or filter_values('company') or filter_values('owner') %}repo_id IN (SELECT repo_id FROM pulse.repositories WHERE true
    {%- for column, values in [('label', filter_values('repository')), ('company_name', filter_values('company')), ('owner', filter_values('owner'))] if values %} AND {{ column }} IN {{ values | map('replace', '\\', '\\\\') | list | where_in }}{% endfor %}){% else %}true{% endif %}{% endset %}
`

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// A figure has one definition: make fields writes the datasets.
func TestDatasetsOfFlowAreTheQueriesOfTheAPI(t *testing.T) {
	const folder = "../../superset/flow/datasets/M7_Pulse_ClickHouse"
	queries := flowQueries()
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) != len(queries) {
		t.Fatalf("%d datasets for %d queries (%v)", len(files), len(queries), err)
	}
	for name, query := range queries {
		path := filepath.Join(folder, name+".yaml")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(text), "\nsql: |\n")
		_, after, closed := strings.Cut(rest, "\nparams: null\n")
		if !ok || !closed {
			t.Fatalf("%s has no place for its query", path)
		}
		want := before + "\nsql: |\n" + strings.TrimRight(indent(filters+query), "\n") + "\nparams: null\n" + after
		if *update {
			err = os.WriteFile(path, []byte(want), 0o644)
		} else if want != string(text) {
			t.Errorf("%s is not the API's query: make fields writes it", path)
		}
		if err != nil {
			t.Error(err)
		}
	}
}
