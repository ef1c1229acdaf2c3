//go:build integration

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/github"
)

// TestDashboardsShowPeopleAndFlowWhereEventsAre: a stack without events has no dashboard
// that would be empty; once it has read feeds, each chart of it has something to show.
func TestDashboardsShowPeopleAndFlowWhereEventsAre(t *testing.T) {
	now := time.Now()
	world := github.Generate(github.Plan{
		Seed: 3, Owners: []github.OwnerPlan{{Login: "google-gemini", Repos: 3}, {Login: "microsoft", Repos: 3}}, Start: now.Add(-60 * 24 * time.Hour),
		Feeds: github.Feeds{Seed: 5, Rate: 2},
	})
	world.Owners[0].Repos[0].Name = "gemini-cli" // which the dashboard of one repository opens with
	emulator, err := github.New(world, "token-of-a-test")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(emulator)
	defer server.Close()
	owners := filepath.Join(t.TempDir(), "owners.yaml")
	if err := os.WriteFile(owners, []byte("companies:\n  alphabet: [google-gemini]\n  microsoft: [microsoft]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPulse(t, "GITHUB_TOKEN=token-of-a-test", "GITHUB_GRAPHQL_URL="+server.URL, "OWNERS_FILE="+owners)
	p.run("up", "--detach")
	p.until(time.Minute, "all are swept", func() bool { return p.audit().Observations == 6 })
	tabs := func(s *superset) (texts []string) {
		t.Helper()
		var one struct {
			Result struct {
				Position string `json:"position_json"`
			}
		}
		s.call(t, http.MethodGet, "/api/v1/dashboard/pulse-repository", nil, &one)
		var position map[string]json.RawMessage
		if err := json.Unmarshal([]byte(one.Result.Position), &position); err != nil {
			t.Fatal(err)
		}
		for _, part := range position {
			var tab struct {
				Type string
				Meta struct{ Text string }
			}
			if json.Unmarshal(part, &tab) == nil && tab.Type == "TAB" { // one part is a version
				texts = append(texts, tab.Meta.Text)
			}
		}
		slices.Sort(texts)
		return texts
	}
	offered := func(s *superset) bool {
		t.Helper()
		var list struct{ Result []struct{ Slug string } }
		s.call(t, http.MethodGet, "/api/v1/dashboard/?q=(page_size:100)", nil, &list)
		return slices.ContainsFunc(list.Result, func(d struct{ Slug string }) bool { return d.Slug == "pulse-flow" })
	}
	dashboards := p.withSuperset(t)
	if got := tabs(dashboards); offered(dashboards) || !slices.Equal(got, []string{"Momentum", "Overview", "Work"}) {
		t.Errorf("without events there is a dashboard of them, or a tab: %q", got)
	}

	p.run("wake", "fetch-events")
	if a := p.audit(); a.Events.Tables["ClickHouse"] == 0 || !a.Clean {
		t.Fatalf("audit %+v", a)
	}
	dashboards = p.withSuperset(t)
	if got := tabs(dashboards); !offered(dashboards) || !slices.Equal(got, []string{"Momentum", "Overview", "People and flow", "Work"}) {
		t.Errorf("with events there is no dashboard of them, or no tab: %q", got)
	}
	rows := dashboards.rows(t, "pulse-flow")
	if len(rows) != 14 {
		t.Errorf("%d charts", len(rows))
	}
	for chart, shown := range rows {
		if len(shown) == 0 {
			t.Errorf("%s shows nothing", chart)
		}
	}
	dashboards.look(t, "pulse-flow", 9, "Bus factor", "Companies side by side")
	dashboards.look(t, "pulse-flow#Flow", 14, "How long work waits")
	dashboards.look(t, "pulse-repository#People and flow", 20, "Who merged most", "How long work waits", "issue first response")
}
