package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// query asks ClickHouse and returns its lines, fields parted by spaces.
func (p *pulse) query(sql string) string {
	p.t.Helper()
	return strings.ReplaceAll(p.exec(sql+" FORMAT TSV"), "\t", " ")
}

// exec has ClickHouse do something.
func (p *pulse) exec(sql string) string {
	p.t.Helper()
	answer, err := http.Post(p.address("CLICKHOUSE_URL"), "text/plain", strings.NewReader(sql))
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %v\n%s", sql, err, text)
	}
	return strings.TrimSpace(string(text))
}

// TestViewsOverRepositories has three repositories in 15 days: a/x steady at 10
// stars a day, a/y at 1 a day in the first week and 20 in the second, b/z losing
// 2 a day.
func TestViewsOverRepositories(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty", "--idle-after", "5s") // a rebuild waits for the sink to end
	var lines strings.Builder
	for d := range 15 {
		at := time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC).AddDate(0, 0, d) // day 0 is a Monday
		observed := func(id int, name string, stars int, more map[string]any) {
			data := map[string]any{"repo_id": id, "name_with_owner": name, "stars": stars, "forks": d, "observed_at": at, "source": "replay"}
			for k, v := range more {
				data[k] = v
			}
			line, err := json.Marshal(map[string]any{"specversion": "1.0", "id": fmt.Sprintf("%d@%d", id, d), "type": "dev.m7pulse.repo.observed.v1",
				"source": "/e2e", "datacontenttype": "application/json", "data": data})
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(line, '\n'))
		}
		release := map[int]string{0: "v1.0.0", 1: "v1.0.1", 2: "v1.1.0"}[d/5] // of days 0, 5 and 10
		observed(1, "a/x", 1000+10*d, map[string]any{"company": "acme", "primary_language": "Go", "topics": []string{"db", "cli"}})
		observed(2, "a/y", 100+d+19*max(0, d-7), map[string]any{"company": "acme", "primary_language": "Go", "topics": []string{"cli"}})
		observed(3, "b/z", 500-2*d, map[string]any{"primary_language": "Rust", "latest_release": release, "latest_release_at": at.AddDate(0, 0, -(d % 5)),
			"pushed_at": at.Add(-time.Hour), "languages": []map[string]any{{"name": "Rust", "bytes": 75}, {"name": "C", "bytes": 25}}})
	}
	file := filepath.Join(t.TempDir(), "views.jsonl")
	if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	p.run("replay", file)
	p.audit()

	want := func(sql string, rows ...string) {
		t.Helper()
		if got := p.query(sql); got != strings.Join(rows, "\n") {
			t.Errorf("%s\ngot:\n%s\nwant:\n%s", sql, got, strings.Join(rows, "\n"))
		}
	}
	const figures = `stars_delta, round(stars_per_day, 3), round(stars_per_day_before, 3), rank, rank_before, rank_change, round(share_of_growth, 3)`
	want("SELECT name_with_owner, "+figures+", rank_in_owner, rank_in_language FROM pulse.repository_ranks WHERE period = '7d' ORDER BY rank",
		"a/y 140 20 1 1 2 1 0.714 1 1", "a/x 70 10 10 2 1 -1 0.357 2 2", "b/z -14 -2 -2 3 3 0 -0.071 1 1")
	want("SELECT owner, repositories, measured, "+figures+" FROM pulse.owners WHERE period = '7d' ORDER BY rank",
		"a 2 2 210 30 11 1 1 0 1.071", "b 1 1 -14 -2 -2 2 2 0 -0.071")
	want("SELECT topic, repositories, measured, "+figures+" FROM pulse.topics WHERE period = '7d' ORDER BY rank",
		"cli 2 2 210 30 11 1 1 0 1.071", "db 1 1 70 10 10 2 2 0 0.357")
	want("SELECT language, stars, stars_delta FROM pulse.languages WHERE period = '24h' ORDER BY rank", "Go 1387 30", "Rust 472 -2")
	// No reading lies an hour back, and none a month: unknown, not zero.
	want("SELECT period, measured, "+figures+" FROM pulse.companies WHERE period IN ('1h', '30d') ORDER BY period",
		`1h 0 \N \N \N \N \N \N \N`, `30d 0 \N \N \N \N \N \N \N`)
	want("SELECT name_with_owner, company_name, language FROM pulse.repositories ORDER BY repo_id", "a/x Acme Go", "a/y Acme Go", "b/z b Rust")
	want("SELECT name_with_owner, language, bytes, share FROM pulse.language_mix ORDER BY bytes DESC", "b/z Rust 75 0.75", "b/z C 25 0.25")
	// A patch followed the first within 7 days, none the second; of the third,
	// four days old, nobody can tell.
	want("SELECT tag, next_tag, patched_within_7d FROM pulse.releases ORDER BY released_at", "v1.0.0 v1.0.1 1", "v1.0.1 v1.1.0 0", `v1.1.0 \N \N`)
	want("SELECT weekday, hour, pushes FROM pulse.activity_hours ORDER BY weekday LIMIT 2", "1 5 3", "2 5 2")

	// A repository that was deleted, and its name given again, is former: what shows
	// names distinguishes the two.
	lines.Reset()
	for i, id := range []int{5, 6} {
		line, err := json.Marshal(map[string]any{"specversion": "1.0", "id": fmt.Sprint("named ", id), "type": "dev.m7pulse.repo.observed.v1", "source": "/e2e",
			"data": map[string]any{"repo_id": id, "name_with_owner": "c/tool", "stars": 1, "source": "replay", "observed_at": time.Date(2026, 1, 19, 7+i, 0, 0, 0, time.UTC),
				"languages": []map[string]any{{"name": "Go", "bytes": 1}}}})
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	p.run("replay", file)
	p.audit()
	for _, view := range []string{"repositories", "language_mix", "movements", "repository_ranks"} {
		want("SELECT DISTINCT repo_id, is_former, label FROM pulse."+view+" WHERE name_with_owner = 'c/tool' ORDER BY repo_id", "5 1 c/tool (repo_id 5)", "6 0 c/tool")
	}
	p.hasPushesOfManyMonths()
}

// hasPushesOfManyMonths sends one repository whose last pushes lie in more months
// (each a partition of a table) than ClickHouse takes in one insert.
func (p *pulse) hasPushesOfManyMonths() {
	p.t.Helper()
	const months = 1_200
	var lines strings.Builder
	for m := range months {
		line, err := json.Marshal(map[string]any{"specversion": "1.0", "id": fmt.Sprint("months ", m), "type": "dev.m7pulse.repo.observed.v1", "source": "/e2e",
			"data": map[string]any{"repo_id": 4, "name_with_owner": "c/months", "stars": 1, "source": "replay",
				"observed_at": time.Date(2026, 1, 20, 0, m, 0, 0, time.UTC), "pushed_at": time.Date(1980, time.Month(1+m), 1, 0, 0, 0, 0, time.UTC)}})
		if err != nil {
			p.t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	file := filepath.Join(p.t.TempDir(), "months.jsonl")
	if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.run("replay", file)
	held := func() {
		p.t.Helper()
		if a := p.audit(); !a.Clean || a.DeadLetters != 0 {
			p.t.Errorf("audit: %+v", a)
		}
		if got := p.query("SELECT uniqExact(toYYYYMM(pushed_at)) FROM pulse.github_pushes WHERE repo_id = 4"); got != fmt.Sprint(months) {
			p.t.Errorf("pushes of %s months, want %d", got, months)
		}
	}
	held()
	p.run("rebuild", "hot", "--from", "cold")
	held()
}
