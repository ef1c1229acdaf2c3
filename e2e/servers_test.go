//go:build integration

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/field"
)

// servers are infra/servers in a folder of downloads that lasts, with data that
// does not.
func servers(t *testing.T, env []string, command string, names ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute) // MinIO is built
	defer cancel()
	cmd := exec.CommandContext(ctx, "../infra/servers/servers.sh", append([]string{command}, names...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	t.Logf("servers.sh %s %v:\n%s", command, names, out)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 4 {
		t.Skipf("SKIPPED: %s", out)
	}
	if err != nil {
		t.Fatalf("servers.sh %s %v: %v", command, names, err)
	}
}

// TestRealServers replays the recording through Apache Kafka, Apicurio, Redis,
// Nessie and MinIO while functions are killed, and has pyiceberg, Trino and
// Superset read what came of it. ClickHouse is the embedded one, unless the program clickhouse
// is on PATH.
func TestRealServers(t *testing.T) {
	names := []string{"kafka", "registry", "minio", "nessie"}
	servers(t, nil, "wipe")
	servers(t, nil, "start", names...)
	t.Cleanup(func() { servers(t, nil, "wipe") })

	p := newPulse(t)
	addresses := realAddresses()
	p.env = append(p.env, addresses...)
	out := p.run("up", "--detach", "--empty", "--drop-bells", "0.3")
	p.env = p.env[:len(p.env)-len(addresses)] // the commands below find them in the home
	if strings.Contains(out, "kfake") || strings.Contains(out, "srfake") || strings.Contains(out, "SQLite") {
		t.Fatalf("an embedded server is up:\n%s", out)
	}
	p.replayUnderKills()
	p.wantRecording()
	if out := p.run("maintain"); !strings.Contains(out, "gc.enabled=false") { // Nessie keeps the past itself
		t.Errorf("maintain:\n%s", out)
	}
	p.wantRecording()

	if !t.Run("pyiceberg", func(t *testing.T) {
		p.wantPyiceberg(t, map[string]string{"type": "rest", "uri": p.address("ICEBERG_CATALOG_URI"), "s3.endpoint": p.address("S3_ENDPOINT"),
			"s3.region": "us-east-1", "s3.access-key-id": "minioadmin", "s3.secret-access-key": "minioadmin"})
	}) {
		return
	}
	t.Run("trino", func(t *testing.T) { p.trino(t, addresses) })
}

func TestPyicebergReadsTheEmbeddedWarehouse(t *testing.T) {
	p := newPulse(t)
	p.run("up", "--detach")
	p.wantRecording()
	path := strings.TrimPrefix(p.address("ICEBERG_CATALOG_URI"), "sqlite://")
	p.wantPyiceberg(t, map[string]string{"type": "sql", "uri": "sqlite:///" + path, "warehouse": p.address("ICEBERG_WAREHOUSE")})
}

func port(name, or string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return or
}

// wantPyiceberg holds what pyiceberg reads against what ClickHouse holds: other
// code, another store.
func (p *pulse) wantPyiceberg(t *testing.T, catalog map[string]string) {
	t.Helper()
	conn, err := sinkclickhouse.Open(p.address("CLICKHOUSE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hot, err := sinkclickhouse.Account(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[field.Kind]string{
		field.Int: "number", field.Float: "real", field.Bool: "flag", field.Time: "moment",
		field.Text: "text", field.Texts: "texts", field.Languages: "languages",
	}
	described := func(columns []account.Column) [][2]string {
		out := [][2]string{}
		for _, c := range columns {
			out = append(out, [2]string{c.Name, kinds[c.Kind]})
		}
		return out
	}
	observed := described(account.ObservedColumns())
	asked, err := json.Marshal(map[string]any{"catalog": catalog, "tables": map[string]any{
		sinkiceberg.TableBase:      [2]any{observed, [][2]string{}},
		sinkiceberg.TableProcessed: [2]any{observed, described(account.VelocityColumns())},
	}})
	if err != nil {
		t.Fatal(err)
	}
	venv := filepath.Join(t.TempDir(), "venv")
	for _, args := range [][]string{{"python3", "-m", "venv", venv}, {venv + "/bin/pip", "install", "-q", "-r", "../infra/servers/requirements.txt"}} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	cmd := exec.CommandContext(t.Context(), venv+"/bin/python", "../infra/servers/read_iceberg.py")
	var complaints bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(asked), &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaints.Bytes())
	}
	var got map[string]account.Tally
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	processed, base := hot.Total, hot.Total
	base.Velocity = 0
	if got[sinkiceberg.TableProcessed] != processed || got[sinkiceberg.TableBase] != base {
		t.Errorf("pyiceberg reads %+v, ClickHouse holds %+v", got, hot.Total)
	}
}

// trino reads both stores as their reader may, by itself and through Superset, and
// finds a row that one lacks.
func (p *pulse) trino(t *testing.T, addresses []string) {
	password, err := os.ReadFile(filepath.Join(p.home, "clickhouse-reader"))
	if err != nil {
		t.Fatal(err)
	}
	servers(t, []string{
		"CLICKHOUSE_JDBC_URL=" + strings.Replace(p.address("CLICKHOUSE_URL"), "http://", "jdbc:clickhouse://", 1) + "/",
		"CLICKHOUSE_READER_PASSWORD=" + string(password),
	}, "start", "trino")
	text, err := os.ReadFile("../infra/trino/views.sql")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // safe to repeat
		for statement := range strings.SplitSeq(strings.TrimSpace(string(text)), ";\n") {
			trino(t, strings.TrimSuffix(statement, ";"))
		}
	}
	want := func(want, query string) {
		t.Helper()
		if got := fmt.Sprint(trino(t, query)); got != want {
			t.Errorf("%s\nis %s, want %s", query, got, want)
		}
	}
	happened := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(happened, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run("replay", happened)
	p.wantEvents(3)
	const hot, cold, both = "clickhouse.pulse.github_metrics_timeseries", "iceberg.github.processed_repos", "iceberg.pulse.observations"
	want("[[42664]]", "SELECT count(*) FROM "+hot)
	want("[[42664]]", "SELECT count(*) FROM "+cold)
	want("[[cold 42664]]", "SELECT store, count(*) FROM "+both+" GROUP BY 1") // the recording is older than the boundary
	want("[["+p.query("SELECT uniqExact(label), countIf(is_former) FROM pulse.repositories")+"]]", "SELECT count(DISTINCT label), count(DISTINCT repo_id) FILTER (WHERE is_former) FROM "+both)
	trino(t, "CREATE OR REPLACE VIEW iceberg.pulse.boundary AS SELECT TIMESTAMP '2025-10-01 00:00:00.000000' AS at")
	sums := "SELECT count(*), sum(stars), count(DISTINCT ROW(repo_id, observed_at)) FROM "
	for _, half := range [][3]string{
		{"hot", hot, "observed_at >= TIMESTAMP '2025-10-01 00:00:00'"},
		{"cold", cold, "observed_at < TIMESTAMP '2025-10-01 00:00:00 UTC'"},
	} {
		rows := trino(t, sums+half[1]+" WHERE "+half[2])
		want(fmt.Sprint(rows), sums+both+" WHERE store = '"+half[0]+"'")
		if fmt.Sprint(rows[0][0]) == "0" {
			t.Errorf("nothing is %s", half[0])
		}
	}
	want(fmt.Sprint(trino(t, sums+cold)), sums+both) // neither overlap nor hole
	want("[[cold 1 1 1] [hot 2 1 2]]", "SELECT store, count(*), count(author_id), count(DISTINCT event_id) FROM iceberg.pulse.events GROUP BY 1 ORDER BY 1")
	want("[[hot 3 2025-11-05 01:02:03.000000 merged bob true <nil>]]", "SELECT store, event_id, CAST(created_at AS varchar), action, author_login, actor_is_bot, commits FROM iceberg.pulse.events WHERE event_id = 3")

	const differences = "SELECT topic, CAST(day AS varchar), cold_rows - hot_rows, counters_differ FROM iceberg.pulse.differences ORDER BY topic"
	want("[]", differences)
	for _, forbidden := range []string{"DELETE FROM iceberg.github.sweeps", "DROP VIEW iceberg.pulse.boundary", "CREATE SCHEMA iceberg.mine", "INSERT INTO clickhouse.pulse.sweeps (sweep_id) VALUES ('x')"} {
		if _, err := ask(t, "reader", forbidden); err == nil || !strings.Contains(err.Error(), "PERMISSION_DENIED") {
			t.Errorf("the reader: %s: %v", forbidden, err)
		}
	}
	dashboards := p.withSuperset(t, append(addresses, "TRINO_URL=http://reader@127.0.0.1:"+port("TRINO_PORT", "18080"))...)
	shown := dashboards.rows(t, "pulse-stores")
	total := func(rows []map[string]any) (sum float64) {
		for _, row := range rows {
			sum += row["observations"].(float64)
		}
		return sum
	}
	stored, days := p.query("SELECT count() FROM pulse.github_metrics_timeseries"), p.query("SELECT uniqExact(toDate(observed_at)) FROM pulse.github_metrics_timeseries")
	byStore, byDay := shown["By store"], shown["Observations by store and day"]
	if len(byStore) != 2 || fmt.Sprint(int(total(byStore))) != stored || fmt.Sprint(int(total(byDay))) != stored || fmt.Sprint(len(byDay)) != days {
		t.Errorf("ClickHouse has %s observations on %s days; Superset shows by store %v, by day %d rows, sum %.0f", stored, days, byStore, len(byDay), total(byDay))
	}
	const verdict, table = "Do the stores hold the same?", "Where the stores differ"
	if got, rows := fmt.Sprint(shown[verdict]), shown[table]; len(rows) != 0 || got != "[map[missing_in_cold:0 missing_in_hot:0 other_values:0 twice:0 verdict:The stores hold the same]]" {
		t.Errorf("Superset shows %s, %v", got, rows)
	}
	dashboards.look(t, "pulse-stores", 4, "The stores hold the same", "By store")
	const lost = "toDate(observed_at) = '2025-12-31' AND repo_id = "
	one := p.query("SELECT min(repo_id) FROM pulse.github_metrics_timeseries WHERE toDate(observed_at) = '2025-12-31'")
	p.exec("ALTER TABLE pulse.github_metrics_timeseries DELETE WHERE " + lost + one + " SETTINGS mutations_sync = 2")
	if got := p.query("SELECT count() FROM pulse.github_metrics_timeseries WHERE " + lost + one); got != "0" {
		t.Fatalf("%s rows are left", got)
	}
	want("[[github.base_repos 2025-12-31 1 true] [github.processed_repos 2025-12-31 1 true]]", differences)
	shown = dashboards.rows(t, "pulse-stores")
	if got, rows := fmt.Sprint(shown[verdict]), shown[table]; len(rows) != 2 || got != "[map[missing_in_cold:0 missing_in_hot:2 other_values:0 twice:0 verdict:They differ on 1 day]]" {
		t.Errorf("with a row lost Superset shows %s, %v", got, rows)
	}

	for _, s := range []string{
		"ALTER TABLE pulse.github_events UPDATE action = 'closed' WHERE event_id = 3 SETTINGS mutations_sync = 2",
		"INSERT INTO pulse.github_processed_repos (repo_id, name_with_owner, owner, name, observed_at, stars) VALUES (77, 'acme/tool', 'acme', 'tool', '2025-11-06 00:00:00', 12)",
		"INSERT INTO pulse.github_daily (repo_id, day, observed_at, stars, forks) VALUES (77, '2025-11-04', '2025-11-04 20:00:00', 10, 1), (77, '2025-11-05', '2025-11-05 20:00:00', 12, 3)",
		"INSERT INTO pulse.github_feed_reads (repo_id, status, read_at) VALUES (77, 'complete', '2025-11-07 00:00:00')",
	} {
		p.exec(s)
	}
	want("[[github.base_repos 2025-12-31 1 true] [github.events 2025-11-05 0 true] [github.processed_repos 2025-12-31 1 true]]", differences)
	want("[[forks 1 2 0.5 incomplete true]]", "SELECT kind, events, change, coverage, verdict, is_known FROM iceberg.pulse.event_coverage WHERE kind = 'forks'")
}

// events are one in September and two in November.
const events = `{"specversion":"1.0","id":"PushEvent/1@1757894400000","type":"dev.m7pulse.github.event.v1","source":"/e2e","datacontenttype":"application/json","data":{"event_type":"PushEvent","event_id":1,"created_at":"2025-09-15T00:00:00Z","repo_id":77,"name_with_owner":"acme/tool","owner":"acme","actor_id":5,"actor_login":"ada","actor_is_bot":false,"author_id":5,"author_login":"ada","author_is_bot":false,"commits":4,"ref":"refs/heads/main","observed_at":"2025-09-15T00:05:00Z","source":"rest"}}
{"specversion":"1.0","id":"ForkEvent/2@1762300800000","type":"dev.m7pulse.github.event.v1","source":"/e2e","datacontenttype":"application/json","data":{"event_type":"ForkEvent","event_id":2,"created_at":"2025-11-05T00:00:00Z","repo_id":77,"name_with_owner":"acme/tool","owner":"acme","actor_id":6,"actor_login":"bob","actor_is_bot":false,"observed_at":"2025-11-05T00:05:00Z","source":"rest"}}
{"specversion":"1.0","id":"PullRequestEvent/3@1762304523000","type":"dev.m7pulse.github.event.v1","source":"/e2e","datacontenttype":"application/json","data":{"event_type":"PullRequestEvent","event_id":3,"created_at":"2025-11-05T01:02:03Z","repo_id":77,"name_with_owner":"acme/tool","owner":"acme","actor_id":7,"actor_login":"merger[bot]","actor_is_bot":true,"action":"merged","subject_kind":"pull_request","number":9,"author_id":6,"author_login":"bob","author_is_bot":false,"subject_created_at":"2025-11-01T00:00:00Z","observed_at":"2025-11-05T01:05:00Z","source":"rest"}}
`

// trino runs one statement as one who may do anything, and returns its rows.
func trino(t *testing.T, statement string) [][]any {
	t.Helper()
	rows, err := ask(t, "test", statement)
	if err != nil {
		t.Fatalf("%s\n%v", statement, err)
	}
	return rows
}

// ask has Trino run one statement as a user.
func ask(t *testing.T, user, statement string) (rows [][]any, err error) {
	t.Helper()
	next, method, body := "http://127.0.0.1:"+port("TRINO_PORT", "18080")+"/v1/statement", http.MethodPost, statement
	for next != "" {
		req, err := http.NewRequestWithContext(t.Context(), method, next, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Trino-User", user)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		var page struct {
			NextURI string          `json:"nextUri"`
			Data    [][]any         `json:"data"`
			Error   json.RawMessage `json:"error"`
		}
		numbers := json.NewDecoder(resp.Body)
		numbers.UseNumber()
		err = numbers.Decode(&page)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		if page.Error != nil {
			return nil, fmt.Errorf("trino: %s", page.Error)
		}
		rows = append(rows, page.Data...)
		next, method, body = page.NextURI, http.MethodGet, ""
	}
	return rows, nil
}
