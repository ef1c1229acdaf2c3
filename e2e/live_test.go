package e2e

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

func TestLiveStackSweepsGitHubAndProvesHowComplete(t *testing.T) {
	long(t)
	t.Parallel()
	world := github.NewWorld()
	facebook := &github.Owner{Login: "facebook", Type: "Organization"}
	for i := range 60 {
		facebook.Repos = append(facebook.Repos, &github.Repo{ID: int64(9000 + i), Name: fmt.Sprintf("r%d", i), Stars: int64(100 + i), Branch: "main", CreatedAt: world.Owners[0].Repos[0].CreatedAt, PushedAt: world.Owners[0].Repos[0].PushedAt})
	}
	world.Owners = append(world.Owners, facebook)
	emulator, err := github.New(world, "token-of-a-test")
	if err != nil {
		t.Fatal(err)
	}
	emulator.Change(func(w *github.World) {
		now := time.Now()
		w.Begin(github.Feeds{}, now.Add(-time.Hour))
		for i := range 130 {
			w.Occur(facebook.Repos[i%2], "star", fmt.Sprintf("dev-%d", i), now.Add(-time.Duration(i)*time.Minute))
		}
	})
	server := httptest.NewServer(emulator)
	defer server.Close()

	// Two ticks have to be in one hour.
	if left := time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)); left < 2*time.Minute {
		time.Sleep(left)
	}
	p := newPulse(t, "GITHUB_TOKEN=token-of-a-test", "GITHUB_GRAPHQL_URL="+server.URL, "OWNERS=acme,jane")
	out := p.run("up", "--detach")
	for _, want := range []string{"facebook/r59", "complete", "unknown_owner", "the next sweep is due"} {
		if !strings.Contains(out, want) {
			t.Errorf("up does not show %q:\n%s", want, out)
		}
	}
	if strings.Contains(out+p.logs(), "token-of-a-test") {
		t.Error("the token is shown")
	}
	// 60 of facebook, 7 public ones of acme, 3 of jane.
	if a := p.audit(); a.Observations != 70 || a.ClickHouse != 70 || a.IcebergRaw != 70 || a.IcebergProcessed != 70 || a.Repos != 70 || !a.Clean {
		t.Errorf("audit: %+v", a)
	}
	// Another tick in the same hour is the same sweep: nothing is read again.
	p.run("tick")
	if a := p.audit(); a.Observations != 70 || !a.Clean {
		t.Errorf("audit after a second tick: %+v", a)
	}
	// The feeds of what a sweep has found are read, each event once.
	p.run("wake", "fetch-events")
	p.run("wake", "fetch-events")
	if n := p.records(event.TopicEvents); n != 130 {
		t.Errorf("%d events are in Kafka, want 130", n)
	}
	if n := p.records(event.TopicFeedReads); n != 70 {
		t.Errorf("%d ledger lines of feeds, want one of each repository: 70", n)
	}
	p.wantEvents(130)
	if n := p.query("SELECT count(), countIf(event_type = 'WatchEvent' AND actor_login LIKE 'dev-%') FROM pulse.github_events"); n != "130 130" {
		t.Errorf("ClickHouse has %s events and stars", n)
	}
	if n := p.query("SELECT count(), sum(events) FROM pulse.github_feed_reads FINAL"); n != "70 130" {
		t.Errorf("ClickHouse has %s ledger lines of feeds and events in them", n)
	}
	p.run("rebuild", "hot", "--from", "cold")
	p.wantEvents(130)
	// What GitHub has lost is said, and is no fault of ours.
	p.exec(`INSERT INTO pulse.github_feed_reads (repo_id, name_with_owner, owner, status, since, read_at, gap_from, gap_to)
		VALUES (9001, 'facebook/r1', 'facebook', 'gap', '2026-01-02 03:00:00', '2026-01-02 04:00:00', '2026-01-02 03:05:00', '2026-01-02 03:55:00')`)
	for _, command := range []string{"status", "audit"} {
		if out := p.run(command); !strings.Contains(out, "gaps of feeds: 1 in 1 repositories; the newest: facebook/r1, from 2026-01-02 03:05:00 to 2026-01-02 03:55:00 UTC") {
			t.Errorf("%s:\n%s", command, out)
		}
	}
	// Whom to sweep changes while all runs; what was read of one can be deleted.
	if out := p.run("owners", "forecast", "jane"); !strings.Contains(out, "jane") || !strings.Contains(out, "listed already") {
		t.Errorf("forecast:\n%s", out)
	}
	p.run("owners", "add", "acme", "--company", "meta", "--exclude", "repo-1")
	if out := p.run("owners", "list"); !strings.Contains(out, "all repositories but repo-1") {
		t.Errorf("owners:\n%s", out)
	}
	if out := p.run("owners", "remove", "jane", "--purge"); !strings.Contains(out, "purged: 3 repositories of jane") {
		t.Errorf("purge:\n%s", out)
	}
	if a := p.audit(); a.Observations != 67 || a.ClickHouse != 67 || a.IcebergRaw != 67 || a.IcebergProcessed != 67 || !a.Clean {
		t.Errorf("audit after the purge: %+v", a)
	}
	p.wantDerived()
	p.run("owners", "remove", "facebook", "--purge")
	p.wantEvents(0)
}

// wantEvents checks that both stores hold a number of events of feeds, each once.
func (p *pulse) wantEvents(n int64) {
	p.t.Helper()
	a := p.audit()
	if a.Events.Kafka != n || a.Events.Tables["ClickHouse"] != n || a.Events.Tables["Iceberg"] != n || !a.Clean {
		p.t.Errorf("audit %+v, want %d events everywhere", a, n)
	}
}

// records counts those of a topic.
func (p *pulse) records(topic string) (n int64) {
	p.t.Helper()
	ends, err := kafka.Ends(p.t.Context(), kafka.Config{Brokers: []string{p.address("KAFKA_BROKERS")}}, topic)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, end := range ends {
		n += end
	}
	return n
}
