package e2e

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/collector"
	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/download"
	"github.com/m7pulse/m7pulse/traces"
)

// One trace leads from the tick of a sweep, through Kafka and every function, to the row
// of each repository in both stores.
func TestOneTraceLeadsFromTheTickToTheRowsInBothStores(t *testing.T) {
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
	p.run("up", "--detach", "--trace")
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
}

func walk(nodes []*traces.Node, path []string, each func(*traces.Node, []string)) {
	for _, n := range nodes {
		at := append(path[:len(path):len(path)], n.Name)
		each(n, at)
		walk(n.Children, at, each)
	}
}
