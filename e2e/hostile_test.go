package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go/table"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
)

// hostile are texts that some part between GitHub and a reader could take for
// more than a text.
var hostile = []string{
	`'); DROP TABLE pulse.github_processed_repos; --`, `\`, `\'`, `''`, `"`, "`", `a\nb`, `{name:String}`, `?`, `$1`, `%27`, `@x`,
	"nul\x00in", "line\nfeed", "return\r\n{\"severity\":\"ERROR\",\"message\":\"forged\"}", "tab\tin", "\x7f",
	"\x1b[2J\x1b]0;owned\x07", "\u009b31m", "\u202egnp.exe", "\ufeff", "\u2028",
	"{{ 7*7 }}", "{% raw %}", "{{ url_param('x') }}", "${jndi:ldap://x}", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "[x](javascript:alert(1))",
	`=cmd|' /C calc'!A0`, "+1", "-1", "@SUM(1)", "../../../etc/passwd", "%s%n", "NULL", "火🔥", strings.Repeat("long ", 3000),
}

// read is what a store holds of a repository.
type read struct{ name, description, language, license, branch, release, company, topic, languages string }

// TestHostileTextsAreStoredAsTheyAreAndDoNothing sends each of them as every
// text of a repository through the whole pipeline.
func TestHostileTextsAreStoredAsTheyAreAndDoNothing(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty")
	var lines bytes.Buffer
	event := func(id, kind string, data map[string]any) {
		line, err := json.Marshal(map[string]any{"specversion": "1.0", "id": id, "type": kind, "source": "/e2e", "datacontenttype": "application/json", "data": data})
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	want := map[int64]read{}
	for i, text := range hostile {
		// A name has one slash and, as what goes into the headers of an event, no
		// control characters: those are refused, see below.
		clean := strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, text)
		name := "evil/" + strings.ReplaceAll(clean, "/", "∕")
		if clean == "" {
			name += "none"
		}
		event("hostile "+clean, "dev.m7pulse.repo.observed.v1", map[string]any{
			"repo_id": i + 1, "node_id": text, "name_with_owner": name, "company": text, "description": text, "primary_language": text,
			"languages": []map[string]any{{"name": text, "bytes": 1}}, "topics": []string{text}, "license": text, "default_branch": text, "latest_release": text,
			"stars": 1000 - i, "observed_at": "2026-01-02T00:00:00Z", "sweep_id": text, "source": "e2e",
		})
		want[int64(i+1)] = read{name, text, text, text, text, text, text, text, text}
		// The observation names a sweep of its own: a sweep id in a ledger line has
		// no control characters, so these sweeps saw nothing.
		event("swept "+clean, "dev.m7pulse.owner.swept.v1", map[string]any{
			"sweep_id": fmt.Sprint(i, clean), "owner": fmt.Sprint(i, clean), "status": "incomplete", "reason": text, "started_at": "2026-01-02T00:00:00Z", "finished_at": "2026-01-02T00:00:01Z",
			"seen": 0, "unanswered": 0, "pages": 1, "killed_pages": 0, "points": 1, "seconds": 1,
		})
	}
	file := filepath.Join(t.TempDir(), "hostile.jsonl")
	if err := os.WriteFile(file, lines.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	p.run("replay", file)
	n := int64(len(hostile))
	if a := p.audit(); a.Observations != n || a.ClickHouse != n || a.IcebergRaw != n || a.IcebergProcessed != n || a.DeadLetters != 0 || !a.Clean {
		t.Errorf("audit: %+v", a)
	}
	for store, got := range map[string]map[int64]read{
		"ClickHouse": p.hotTexts(), "Iceberg base_repos": p.coldTexts(sinkiceberg.TableBase), "Iceberg processed_repos": p.coldTexts(sinkiceberg.TableProcessed),
	} {
		for id, w := range want {
			if got[id] != w {
				t.Errorf("%s holds %.300q, want %.300q", store, got[id], w)
			}
		}
	}
	reasons := strings.Split(p.query("SELECT hex(assumeNotNull(reason)) FROM pulse.sweeps FINAL ORDER BY reason"), "\n")
	sorted := slices.Sorted(slices.Values(hostile))
	if len(reasons) != len(sorted) {
		t.Fatalf("%d ledger lines, want %d", len(reasons), len(sorted))
	}
	for i, text := range sorted {
		if reasons[i] != fmt.Sprintf("%X", text) {
			t.Errorf("the ledger's reason is %s, want %q", reasons[i], text)
		}
	}

	// What the command line is given, it asks for; what it is answered, it shows.
	for id := range int64(12) { // those that are about SQL
		w := want[id+1]
		var found struct{ Repository string }
		if p.json(&found, "repo", w.name); found.Repository != w.name {
			t.Errorf("repo %q finds %q", w.name, found.Repository)
		}
	}
	p.produce("github.base_repos", "", "invalid \x1b[2J\u202e")
	if a := p.audit(); a.DeadLetters != 1 {
		t.Errorf("audit: %+v", a)
	}
	for _, args := range [][]string{{"top"}, {"top", "--csv"}, {"top", "--json"}, {"trends", "--by", "language"}, {"compare", "evil/\\", "evil/+1"}, {"dlq", "list"}, {"dlq", "list", "--json"}, {"status"}} {
		for _, r := range p.run(args...) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("pulse %v prints %q", args, r)
			}
		}
	}

	// A line of a log is one object, whatever was posted.
	for _, text := range hostile {
		data, err := json.Marshal(map[string]any{"repo_id": 1, "name_with_owner": strings.ReplaceAll(text, "/", ""), "stars": 1, "observed_at": "2026-01-02T00:00:00Z"})
		if err != nil {
			t.Fatal(err)
		}
		if status, why := p.post("AGGREGATE_URL", "dev.m7pulse.repo.observed.v1", "application/json", string(data)); status != http.StatusUnprocessableEntity {
			t.Errorf("the name %q: answered %d %s", text, status, why)
		}
	}
	logs, err := filepath.Glob(filepath.Join(p.home, "log", "*-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, path := range append(logs, filepath.Join(p.home, "log", "aggregate.log")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Message string }
			if err := json.Unmarshal(line, &entry); err != nil || entry.Message == "forged" {
				t.Errorf("%s: %q: %v", filepath.Base(path), line, err)
			}
			if entry.Message == "event refused" {
				refused++
			}
		}
	}
	if refused < len(hostile) {
		t.Errorf("%d refusals are in the logs, want %d", refused, len(hostile))
	}
}

// hotTexts are those of the current state in ClickHouse.
func (p *pulse) hotTexts() map[int64]read {
	p.t.Helper()
	conn, err := sinkclickhouse.Open(p.address("CLICKHOUSE_URL"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	rows, err := conn.Query(context.Background(), `SELECT s.repo_id, s.name_with_owner, assumeNotNull(s.description), assumeNotNull(toString(t.primary_language)), assumeNotNull(s.license),
		assumeNotNull(s.default_branch), assumeNotNull(t.latest_release), assumeNotNull(toString(t.company)), toString(s.topics[1]), s.languages[1].1
		FROM pulse.github_processed_repos AS s FINAL JOIN pulse.github_metrics_timeseries AS t ON t.repo_id = s.repo_id`)
	if err != nil {
		p.t.Fatal(err)
	}
	defer rows.Close()
	out := map[int64]read{}
	for rows.Next() {
		var id int64
		var r read
		if err := rows.Scan(&id, &r.name, &r.description, &r.language, &r.license, &r.branch, &r.release, &r.company, &r.topic, &r.languages); err != nil {
			p.t.Fatal(err)
		}
		out[id] = r
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return out
}

// coldTexts are those of a table in Iceberg.
func (p *pulse) coldTexts(name string) map[int64]read {
	p.t.Helper()
	ctx := context.Background()
	c, closeCatalog, err := sinkiceberg.Open(ctx, sinkiceberg.Location{Catalog: p.address("ICEBERG_CATALOG_URI"), Warehouse: p.address("ICEBERG_WAREHOUSE")})
	if err != nil {
		p.t.Fatal(err)
	}
	defer closeCatalog()
	tab, err := c.LoadTable(ctx, table.Identifier{"github", name})
	if err != nil {
		p.t.Fatal(err)
	}
	_, batches, err := tab.Scan().ToArrowRecords(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	out := map[int64]read{}
	for batch, err := range batches {
		if err != nil {
			p.t.Fatal(err)
		}
		column := map[string]any{}
		for i, f := range batch.Schema().Fields() {
			column[f.Name] = batch.Column(i)
		}
		text := func(name string, row int) string { return column[name].(*array.String).Value(row) }
		for row := range int(batch.NumRows()) {
			topics, languages := column["topics"].(*array.List), column["languages"].(*array.List)
			at, _ := topics.ValueOffsets(row)
			topic := topics.ListValues().(*array.String).Value(int(at))
			at, _ = languages.ValueOffsets(row)
			language := languages.ListValues().(*array.Struct).Field(0).(*array.String).Value(int(at))
			out[column["repo_id"].(*array.Int64).Value(row)] = read{text("name_with_owner", row), text("description", row), text("primary_language", row), text("license", row),
				text("default_branch", row), text("latest_release", row), text("company", row), topic, language}
		}
		batch.Release()
	}
	return out
}
