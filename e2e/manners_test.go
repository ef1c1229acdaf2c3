package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// observations writes a file of daily readings: of each repository, by id and
// name, from a day on, its stars.
func observations(t *testing.T, series ...struct {
	id    int64
	name  string
	from  time.Time
	stars []int64
}) string {
	t.Helper()
	var lines strings.Builder
	for _, s := range series {
		for d, stars := range s.stars {
			at := s.from.AddDate(0, 0, d)
			line, err := json.Marshal(map[string]any{"specversion": "1.0", "id": fmt.Sprintf("%d@%d", s.id, at.Unix()), "type": "dev.m7pulse.repo.observed.v1", "source": "/e2e",
				"data": map[string]any{"repo_id": s.id, "name_with_owner": s.name, "company": "bugs", "stars": stars, "observed_at": at, "source": "by-hand"}})
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(line, '\n'))
		}
	}
	file := filepath.Join(t.TempDir(), "observations.jsonl")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// dataset is the query of one of the dashboards' datasets.
func dataset(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "infra", "superset", "bundle", "datasets", "M7_Pulse_ClickHouse", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		SQL string `json:"sql"`
	}
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d.SQL
}

// TestTheCommandLineSaysWhatIs: one stack, and what each command says of it.
func TestTheCommandLineSaysWhatIs(t *testing.T) {
	p := newPulse(t)
	wantsRefusal := func(want string, args ...string) {
		t.Helper()
		if out, err := p.try(args...); err == nil || !strings.Contains(out, want) || strings.Contains(out, `\n`) {
			t.Errorf("pulse %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	if out := p.run("--version"); !regexp.MustCompile(`^pulse .+go1\.`).MatchString(out) {
		t.Errorf("--version: %q", out)
	}
	wantsRefusal("no stack is up", "top")
	p.run("up", "--detach", "--empty", "--idle-after", "1d")

	for _, args := range [][]string{{"top"}, {"trends"}, {"dlq", "list"}, {"owners", "list"}} {
		if out := p.run(append(args, "--json")...); strings.TrimSpace(out) != "[]" {
			t.Errorf("%v of nothing: %s", args, out)
		}
	}
	wantsRefusal("nosuch", "wake", "nosuch")
	wantsRefusal("--each 0", "top", "--each", "0")
	wantsRefusal("--each -1", "top", "--each=-1")
	for _, bad := range [][]string{{"--rate", "NaN"}, {"--rate", "Inf"}, {"--speed", "NaN"}, {"--speed", "Inf"}} {
		wantsRefusal(bad[0], append([]string{"replay", "x.jsonl"}, bad...)...)
	}

	// Two repositories of one name: the first was deleted, and the name given again
	// to one with fewer stars.
	day := func(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.UTC) }
	type series = struct {
		id    int64
		name  string
		from  time.Time
		stars []int64
	}
	file := observations(t,
		series{8001, "bugs08/tool", day(1), []int64{50_010, 50_020, 50_030, 50_040, 50_050, 50_060, 50_070, 50_080}},
		series{8002, "bugs08/tool", day(9), []int64{3, 5}},
		series{8003, "bugs08/other", day(1), []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}})
	p.run("replay", file)
	p.want(20, 3)
	type repository struct {
		Repository string
		RepoID     int64 `json:"repo_id"`
		Stars      int64
		Days       []*float64
		Delta      *int64 `json:"stars_delta_7d"`
		LastDay    string `json:"last_day"`
		Counters   []struct {
			Counter string
			Days    []*float64
		}
	}
	known := func(days []*float64) (n int) {
		for _, v := range days {
			if v != nil {
				n++
			}
		}
		return n
	}
	var living, dead repository
	p.json(&living, "repo", "bugs08/tool")
	p.json(&dead, "repo", "8001")
	for _, c := range []struct {
		got   repository
		id    int64
		stars int64
		days  int
	}{{living, 8002, 5, 2}, {dead, 8001, 50_080, 8}} {
		if c.got.RepoID != c.id || c.got.Stars != c.stars || known(c.got.Days) != c.days || known(c.got.Counters[0].Days) != c.days || c.got.LastDay != "2026-11-10" || c.got.Repository != "bugs08/tool" {
			t.Errorf("repo_id %d: %+v", c.id, c.got)
		}
	}
	var both []repository
	p.json(&both, "compare", "bugs08/tool", "8001")
	if len(both) != 2 || both[0].RepoID != 8002 || both[1].RepoID != 8001 {
		t.Errorf("compared: %+v", both)
	}
	var movers []repository
	p.json(&movers, "top")
	if len(movers) != 3 || movers[0].Delta == nil || *movers[0].Delta != 70 || movers[0].RepoID != 8001 {
		t.Errorf("top: %+v", movers)
	}
	if out := p.run("top"); !strings.Contains(out, "bugs08/tool (repo_id 8001)") || !regexp.MustCompile(`bugs08/tool  `).MatchString(out) {
		t.Errorf("top:\n%s", out)
	}
	if got := p.query("SELECT repo_id, label, is_former FROM pulse.repositories ORDER BY repo_id"); got != "8001 bugs08/tool (repo_id 8001) 1\n8002 bugs08/tool 0\n8003 bugs08/other 0" {
		t.Errorf("labels:\n%s", got)
	}
	// Datasets without a template are SQL as they are.
	if got := p.query("SELECT repository, stars FROM (" + dataset(t, "repositories") + ") ORDER BY stars DESC"); got != "bugs08/tool (repo_id 8001) 50080\nbugs08/other 10\nbugs08/tool 5" {
		t.Errorf("dataset of the repositories:\n%s", got)
	}
	if got := p.query("SELECT repository, value FROM (" + dataset(t, "totals") + ") WHERE counter = 'Stars' ORDER BY value"); got != "bugs08/tool 5\nbugs08/other 10\nbugs08/tool (repo_id 8001) 50080" {
		t.Errorf("dataset of the totals:\n%s", got)
	}
	// Only one has been read on enough days to be unusual.
	if got := p.query("SELECT repository FROM (" + dataset(t, "breakouts") + ")"); got != "bugs08/tool (repo_id 8001)" {
		t.Errorf("dataset of the breakouts: %s", got)
	}
	if out := p.run("repo", "bugs08/other", "--csv", "--days", "3"); !strings.Contains(out, "stars,2026-11-08,8\n") || !strings.Contains(out, "stars,2026-11-10,10\n") {
		t.Errorf("repo --csv:\n%s", out)
	}

	// What is recorded is JSON, and what cannot be written is an error.
	out := filepath.Join(t.TempDir(), "recorded.jsonl")
	p.run("record", "github.base_repos", "--out", out)
	if text, err := os.ReadFile(out); err != nil || strings.Contains(string(text), "data_base64") || strings.Count(string(text), `"data":{`) != 20 {
		t.Errorf("recorded: %.300s, %v", text, err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"top"}, {"top", "--json"}, {"top", "--csv"}, {"status"}, {"repo", "8001"}, {"dlq", "list"}, {"owners", "list"}, {"wake", "aggregate"}, {"audit"}, {"--version"}, {"--help"}} {
		cmd := p.command(t.Context(), args...)
		cmd.Stdout = full
		if err := cmd.Run(); err == nil {
			t.Errorf("pulse %v to a full disk succeeds", args)
		}
	}

	// A stack that dies is said to have died.
	pid := p.status().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	for _, command := range []string{"status", "top", "tick"} {
		wantsRefusal("has died", command)
	}
	if out := p.run("down"); !strings.Contains(out, "has died") {
		t.Errorf("down: %s", out)
	}
	// Its home is of recorded data, and stays so.
	p.env = append(p.env, "GITHUB_TOKEN=t", "GITHUB_GRAPHQL_URL=http://127.0.0.1:1/graphql", "OWNERS_FILE=")
	wantsRefusal("holds data that is recorded", "up", "--detach")
	wantsRefusal("holds data that is recorded", "up")
}

// TestUpNamesWhatIsWrongAndEnds: nothing is started, and the exit code is 1.
func TestUpNamesWhatIsWrongAndEnds(t *testing.T) {
	owners := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(owners, []byte("people:\n  - torvalds\n---\npeople:\n  - gvanrossum\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, env := range map[string]string{
		"REDIS_URL": "REDIS_URL=localhost:6379", "CLICKHOUSE_URL": "CLICKHOUSE_URL=http://", "SCHEMA_REGISTRY_URL": "SCHEMA_REGISTRY_URL=localhost:8081",
		"ICEBERG_CATALOG_URI": "ICEBERG_CATALOG_URI=/tmp/catalog.db", "TRINO_URL": "TRINO_URL=http://host", "mine.yaml: line 3": "OWNERS_FILE=" + owners,
		"PULSE_HOME": "PULSE_HOME=" + filepath.Join(t.TempDir(), "a#b"),
	} {
		for _, detach := range []string{"--detach", "--empty"} {
			p := newPulse(t, "GITHUB_TOKEN=t", "GITHUB_GRAPHQL_URL=http://127.0.0.1:1/graphql", env)
			if out, err := p.try("up", detach); err == nil || !strings.Contains(out, want) {
				t.Errorf("%s: %v\n%s", env, err, out)
			}
			if files, _ := filepath.Glob(filepath.Join(p.home, "*")); len(files) != 0 {
				t.Errorf("%s: a start that was refused wrote %v", env, files)
			}
		}
	}
}
