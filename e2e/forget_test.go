package e2e

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/github"
)

// TestAPersonWhoIsForgottenDoesNotComeBack by a rebuild, a restart, another reading of
// the feeds or a replay of Kafka. What others did stays.
func TestAPersonWhoIsForgottenDoesNotComeBack(t *testing.T) {
	long(t)
	t.Parallel()
	world := github.NewWorld()
	emulator, err := github.New(world, "token-of-a-test")
	if err != nil {
		t.Fatal(err)
	}
	people := []string{"ada", "bob", "cy"}
	emulator.Change(func(w *github.World) {
		start := time.Now().Add(-2 * time.Hour)
		w.Begin(github.Feeds{}, start)
		repos := w.Owners[0].Repos[:2]
		for i := range 60 {
			w.Occur(repos[i%2], "push", people[i%3], start.Add(time.Duration(i)*time.Minute))
		}
		w.Occur(repos[0], "open issue", "ada", start.Add(61*time.Minute))
		w.Occur(repos[0], "comment", "cy", start.Add(62*time.Minute)) // on what ada has begun
		w.Occur(repos[0], "push", "cy", start.Add(63*time.Minute))
	})
	server := httptest.NewServer(emulator)
	defer server.Close()
	p := newPulse(t, "GITHUB_TOKEN=token-of-a-test", "GITHUB_GRAPHQL_URL="+server.URL, "OWNERS=acme")
	p.run("up", "--detach", "--idle-after", "2s")
	p.run("wake", "fetch-events")
	p.wantEvents(63)

	stored := func(want string) {
		t.Helper()
		if got := p.query("SELECT arrayStringConcat(arraySort(groupArray(concat(login, ' ', toString(n)))), ', ') FROM (SELECT actor_login AS login, count() AS n FROM pulse.github_events GROUP BY login)"); got != want {
			t.Errorf("ClickHouse has events of %q, want %q", got, want)
		}
	}
	inKafka := func() string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "events.jsonl")
		p.run("record", "github.events", "--out", file)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	stored("ada 21, bob 20, cy 22")
	before := inKafka()
	for _, who := range people {
		if !strings.Contains(before, `"`+who+`"`) {
			t.Fatalf("Kafka has nothing of %s", who)
		}
	}

	// Kafka deletes events of others too, so it does only where the stores have them.
	p.exec("ALTER TABLE pulse.github_events DELETE WHERE actor_login = 'cy' SETTINGS mutations_sync = 2")
	if out, err := p.try("forget", "ada"); err == nil || !strings.Contains(out, "nothing was deleted") {
		t.Errorf("a person is forgotten though a store lacks events of others: %v\n%s", err, out)
	}
	p.run("rebuild", "hot", "--from", "cold")
	p.wantEvents(63)

	// What was deleted from the stores alone is still deleted from Kafka later.
	p.run("forget", "ada", "--keep-kafka")
	stored("bob 20, cy 21")
	if _, err := p.try("audit", "--wait"); err == nil {
		t.Error("the audit does not see that Kafka has events of somebody whom the stores have forgotten")
	}
	if out := p.run("forget", "ADA"); !strings.Contains(out, "records of github.events deleted") {
		t.Errorf("forget:\n%s", out)
	}
	p.run("forget", "bob")
	if out := p.run("forget", "bob"); !strings.Contains(out, "no event knows") {
		t.Errorf("forget again:\n%s", out)
	}

	gone := func(when string) {
		t.Helper()
		stored("cy 21")
		a := p.audit()
		if a.Events.Tables["ClickHouse"] != 21 || a.Events.Tables["Iceberg"] != 21 || !a.Clean {
			t.Errorf("%s: %+v, want 21 events in both stores", when, a)
		}
		if kept := inKafka(); strings.Contains(kept, `"ada"`) || strings.Contains(kept, `"bob"`) {
			t.Errorf("%s: Kafka has\n%s", when, kept)
		}
	}
	gone("once forgotten")
	p.run("rebuild", "hot", "--from", "cold")
	gone("rebuilt")
	p.run("down")
	p.run("up", "--detach")
	p.run("wake", "fetch-events")
	gone("begun again")

	// The sinks read on in what is left of the topic.
	var others []string
	for line := range strings.Lines(before) {
		if strings.Contains(line, `"cy"`) && !strings.Contains(line, `"ada"`) {
			others = append(others, line)
		}
	}
	file := filepath.Join(t.TempDir(), "others.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(others, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("replay", file)
	gone("replayed")
	if a := p.audit(); a.Events.Kafka != 21 {
		t.Errorf("%d events are in Kafka, want 21", a.Events.Kafka)
	}
}
