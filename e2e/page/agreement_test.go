//go:build integration

package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"go.yaml.in/yaml/v3"
)

// figures are what one surface says of a repository, by the name of the figure; "" is not
// known. What a surface does not show is not there.
type figures map[string]string

// agreement asks the four surfaces for the same figures of ten repositories: the page in
// the browser, the API over HTTP, the command line by --json, and the dashboards by the
// SQL of their own datasets.
func (b *tab) agreement(t *testing.T, reader string) {
	names := strings.Split(ask(t, reader, `SELECT name_with_owner FROM pulse.github_processed_repos FINAL
		WHERE company IS NOT NULL AND observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY ORDER BY cityHash64(name_with_owner) LIMIT 10 FORMAT TSVRaw`), "\n")
	if len(names) != 10 {
		t.Fatalf("%d repositories", len(names))
	}
	outOfDate := strings.Split(ask(t, reader, `SELECT name_with_owner FROM pulse.github_processed_repos FINAL
		WHERE observed_at <= (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY FORMAT TSVRaw`), "\n")
	commands, dashboards := commandLine(t, names), datasets(t, reader, names)
	compared := 0
	for _, name := range names {
		all := map[string]figures{"page": b.shown(t, name, outOfDate), "API": resource(t, b.base, name), "command line": commands[name], "dashboards": dashboards[name]}
		for surface, shown := range all {
			for _, must := range []string{"stars", "forks", "open_issues", "stars_delta_7d", "stars_delta_30d", "rank_in_company"} {
				if _, ok := shown[must]; !ok {
					t.Errorf("%s: the %s says nothing of %s", name, surface, must)
				}
			}
			for figure, value := range shown {
				for other, others := range all {
					want, both := others[figure]
					if both && surface < other {
						compared++
						if value != want {
							t.Errorf("%s: %s is %q on the %s and %q on the %s", name, figure, value, surface, want, other)
						}
					}
				}
			}
		}
	}
	t.Logf("%d pairs of figures of %d repositories compared", compared, len(names))
	b.quiet(t)
}

// shown reads a repository's view over 7 and over 30 days, and its place in its company's
// among those that are not out of date.
func (b *tab) shown(t *testing.T, name string, outOfDate []string) figures {
	t.Helper()
	out := figures{}
	for _, window := range []string{"7d", "30d"} {
		b.open(t, view{query: "?view=repository&window=" + window + "&name=" + name, charts: 3}, 1440, "light")
		tiles := strings.Split(b.text(t, ".tiles.pick"), "\n")
		for i, line := range tiles {
			for label, field := range map[string]string{"Stars": "stars", "Forks": "forks", "Open issues": "open_issues"} {
				if line == label {
					out[field] = number(tiles[i+1])
					out[field+"_delta_"+window] = number(strings.TrimSuffix(tiles[i+2], " in "+window))
				}
			}
		}
	}
	var company string
	b.run(t, // the company leads to its view
		chromedp.Evaluate(`new URLSearchParams([...document.querySelectorAll(".facts a")].find(a => a.search.includes("view=company")).search).get("name")`, &company))
	b.open(t, view{query: "?view=company&sort.repositories=-rate&name=" + company, charts: 1}, 1440, "light")
	var order []string
	b.run(t, chromedp.Evaluate(`[...document.querySelectorAll("#repositories tbody th")].map(th => th.innerText)`, &order))
	old, err := json.Marshal(outOfDate)
	if err != nil {
		t.Fatal(err)
	}
	var moving []string
	b.run(t, chromedp.Evaluate(`[...document.querySelectorAll("#repositories tbody tr")].filter(tr => `+string(old)+`.includes(tr.querySelector("th").innerText)).map(tr => tr.cells[3].innerText + tr.cells[4].innerText)`, &moving))
	for _, changes := range moving {
		if changes != "––" {
			t.Errorf("a repository of %s that is out of date has changes: %s", company, changes)
		}
	}
	for i, other := range slices.DeleteFunc(order, func(other string) bool { return slices.Contains(outOfDate, other) }) {
		if other == name {
			out["rank_in_company"] = strconv.Itoa(i + 1)
		}
	}
	return out
}

// number undoes how the page writes one.
func number(shown string) string {
	if shown == "–" {
		return ""
	}
	return strings.NewReplacer(",", "", "+", "", "−", "-").Replace(shown)
}

func resource(t *testing.T, base, name string) figures {
	t.Helper()
	var one struct{ Data map[string]any }
	get(t, base+"/api/v1/repositories/"+name, &one)
	out := figures{}
	for _, counter := range []string{"stars", "forks", "open_issues"} {
		for _, field := range []string{counter, counter + "_delta_7d", counter + "_delta_30d"} {
			value, ok := one.Data[field]
			if !ok {
				t.Errorf("the API has no %s of %s", field, name)
			}
			out[field] = text(value)
		}
	}
	var ranking struct {
		Data []struct{ Company, Repository string }
	}
	get(t, base+"/api/v1/rankings?each=1000", &ranking)
	place := map[string]int{}
	for _, r := range ranking.Data {
		place[r.Company]++
		if r.Repository == name {
			out["rank_in_company"] = strconv.Itoa(place[r.Company])
		}
	}
	return out
}

func get(t *testing.T, url string, to any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	decode := json.NewDecoder(resp.Body)
	decode.UseNumber()
	if err := decode.Decode(to); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, resp.Status, err)
	}
}

func text(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// commandLine asks bin/pulse, of the stack in PULSE_HOME.
func commandLine(t *testing.T, names []string) map[string]figures {
	t.Helper()
	run := func(to any, args ...string) {
		cmd := exec.CommandContext(t.Context(), "../../bin/pulse", args...)
		var wrong bytes.Buffer
		cmd.Stderr = &wrong
		said, err := cmd.Output()
		if err != nil {
			t.Fatalf("pulse %q: %v %s", args, err, wrong.String())
		}
		decode := json.NewDecoder(bytes.NewReader(said))
		decode.UseNumber()
		if err := decode.Decode(to); err != nil {
			t.Fatalf("pulse %q: %v", args, err)
		}
	}
	var ranking []struct{ Company, Repository string }
	run(&ranking, "top", "--window", "7d", "--each", "1000", "--json")
	place, at := map[string]int{}, map[string]int{}
	for _, r := range ranking {
		place[r.Company]++
		at[r.Repository] = place[r.Company]
	}
	all := map[string]figures{}
	for _, name := range names {
		var one map[string]any
		run(&one, "repo", name, "--json")
		all[name] = figures{"rank_in_company": strconv.Itoa(at[name])}
		for _, field := range []string{"stars", "forks", "open_issues", "stars_delta_7d", "stars_delta_30d"} {
			all[name][field] = text(one[field])
		}
	}
	return all
}

// datasets asks by the SQL that Superset is given.
func datasets(t *testing.T, reader string, names []string) map[string]figures {
	t.Helper()
	sql := func(dataset string) string {
		files, err := filepath.Glob("../../infra/superset/bundle/datasets/*/" + dataset + ".yaml")
		if err != nil || len(files) != 1 {
			t.Fatalf("the dataset %s is in %q: %v", dataset, files, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		var of struct{ SQL string }
		if err := yaml.Unmarshal(data, &of); err != nil || of.SQL == "" || strings.Contains(of.SQL, "{{") || strings.Contains(of.SQL, "{%") {
			t.Fatalf("the dataset %s has no SQL, or a template: %v %s", dataset, err, of.SQL)
		}
		return "(" + of.SQL + ")"
	}
	chosen := "repository IN ('" + strings.Join(names, "', '") + "')"
	all := map[string]figures{}
	for _, name := range names {
		all[name] = figures{}
	}
	fields := map[string]string{"Stars": "stars", "Forks": "forks", "Open issues": "open_issues"}
	for _, row := range strings.Split(ask(t, reader, "SELECT repository, counter, ifNull(toString(value), ''), ifNull(toString(d7d), ''), ifNull(toString(d30d), '') FROM "+sql("totals")+" WHERE "+chosen+" FORMAT TSVRaw"), "\n") {
		cells := strings.Split(row, "\t")
		if field, ok := fields[cells[1]]; ok {
			all[cells[0]][field], all[cells[0]][field+"_delta_7d"], all[cells[0]][field+"_delta_30d"] = cells[2], cells[3], cells[4]
		}
	}
	for _, row := range strings.Split(ask(t, reader, "SELECT repository, toString(place) FROM (SELECT repository, row_number() OVER (PARTITION BY company ORDER BY stars_per_day_7d DESC NULLS LAST, stars DESC) AS place FROM "+
		sql("repositories")+" WHERE is_current) WHERE "+chosen+" FORMAT TSVRaw"), "\n") {
		cells := strings.Split(row, "\t")
		all[cells[0]]["rank_in_company"] = cells[1]
	}
	return all
}
