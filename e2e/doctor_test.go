package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/doctor"
	"github.com/m7pulse/m7pulse/retention"
	"github.com/m7pulse/m7pulse/shared/freeport"
	"github.com/m7pulse/m7pulse/shared/redisclient/redistest"
)

// plant is one thing that is wrong with an installation, and what the doctor must say.
type plant struct {
	env     []string
	subject string
	verdict doctor.Verdict
	seen    string // a part of it
}

// TestWhatHasOutlivedItsTimeIsDue makes a result of the quality checks older than
// ClickHouse keeps it, and asks what maintenance would do.
func TestWhatHasOutlivedItsTimeIsDue(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty")
	p.run("wake", "sink-clickhouse") // its first event makes the schema
	p.until(time.Minute, "the schema to be made", func() bool {
		return p.query("SELECT count() FROM system.tables WHERE database = 'pulse' AND name = 'quality_results'") == "1"
	})
	p.exec("SYSTEM STOP TTL MERGES pulse.quality_results")
	p.exec("INSERT INTO pulse.quality_results (expectation, checked_at) SELECT toString(number), now() - INTERVAL if(number = 0, 401, 399) DAY FROM numbers(3)")
	var said struct {
		Iceberg []struct{ Table string }
		Stores  []retention.Kept
	}
	if err := json.Unmarshal([]byte(p.run("maintain", "--dry-run", "--json")), &said); err != nil {
		t.Fatal(err)
	}
	stores := map[string]int{}
	for _, k := range said.Stores {
		stores[k.Store]++
		if k.What == "pulse.quality_results" && (k.Due != 1 || k.Count != 3 || *k.Days != 400 || k.Oldest == nil || time.Since(*k.Oldest) < 400*24*time.Hour) {
			t.Errorf("%+v, want one of three rows due", k)
		} else if k.What != "pulse.quality_results" && k.Due != 0 {
			t.Errorf("%+v is due", k)
		}
	}
	if stores["Kafka"] < 15 || stores["ClickHouse"] < 10 || len(said.Iceberg) != 6 {
		t.Errorf("%v, %d tables of Iceberg", stores, len(said.Iceberg))
	}
	if text := p.run("maintain", "--dry-run"); !strings.Contains(text, "400 days") || !strings.Contains(text, "nothing has been done") {
		t.Error(text)
	}
}

// TestDoctorNamesWhatIsWrong plants one fault at a time in an installation that is well.
func TestDoctorNamesWhatIsWrong(t *testing.T) {
	long(t)
	t.Parallel()
	stack := newPulse(t)
	stack.run("up", "--detach", "--empty")
	for _, f := range diagnose(t, stack) {
		if f.Verdict == doctor.Wrong {
			t.Errorf("of an installation that is well: %+v", f)
		}
	}
	nowhere, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "not-a-folder")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	github := func(status, remaining int, date time.Time) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"data":{"viewer":{"login":"octocat"},"rateLimit":{"limit":5000,"remaining":%d,"resetAt":"2026-01-01T00:00:00Z"}}}`, remaining)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	topics := func(partitions int32, config map[string]string) string {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if partitions > 0 {
			configs := map[string]*string{}
			for key, value := range config {
				configs[key] = &value
			}
			if _, err := kadm.NewClient(client).CreateTopic(t.Context(), partitions, 1, configs, "github.base_repos"); err != nil {
				t.Fatal(err)
			}
		}
		return cluster.ListenAddrs()[0]
	}
	for name, p := range map[string]plant{
		"a variable that cannot be": {[]string{"PAGE_SIZE=0"}, "configuration", doctor.Wrong, "fetch-org: expected 1 <= 0 <= 100: PAGE_SIZE"},
		"no Kafka":                  {[]string{"KAFKA_BROKERS=" + nowhere}, "kafka", doctor.Wrong, "ask for the brokers"},
		"a Kafka without topics":    {[]string{"KAFKA_BROKERS=" + topics(0, nil)}, "kafka", doctor.Wrong, "github.base_repos is missing"},
		"few partitions":            {[]string{"KAFKA_BROKERS=" + topics(3, nil)}, "kafka", doctor.Wrong, "github.base_repos has 3 partitions of 12"},
		"facts that expire in a day": {[]string{"KAFKA_BROKERS=" + topics(12, map[string]string{"retention.ms": "86400000"})}, "kafka", doctor.Wrong,
			"github.base_repos: retention.ms is 86400000, want 7776000000 or more"},
		"facts that are thinned out": {[]string{"KAFKA_BROKERS=" + topics(12, map[string]string{"cleanup.policy": "compact"})}, "kafka", doctor.Wrong,
			"github.base_repos: cleanup.policy is compact, want delete"},
		"another server for the registry": {[]string{"SCHEMA_REGISTRY_URL=" + stack.address("CLICKHOUSE_URL")}, "registry", doctor.Wrong, "ask for the newest schema of"},
		"a Redis that evicts":             {[]string{"REDIS_URL=" + redistest.Server(t, "--maxmemory-policy", "allkeys-lru")}, "redis", doctor.Wrong, "it evicts keys when it is full (allkeys-lru)"},
		"a Redis that forgets":            {[]string{"REDIS_URL=" + redistest.Server(t, "--appendonly", "no")}, "redis", doctor.Warning, "it does not keep an append-only file"},
		"a Redis that is a replica": {[]string{"REDIS_URL=" + redistest.Server(t, "--replicaof", strings.ReplaceAll(nowhere, ":", " "))}, "redis", doctor.Wrong,
			"it is a replica and refuses writes"},
		"another user for ClickHouse":        {[]string{"CLICKHOUSE_URL=" + strings.Replace(stack.address("CLICKHOUSE_URL"), "http://", "http://nobody:wrong@", 1)}, "clickhouse", doctor.Wrong, "AUTHENTICATION_FAILED"},
		"a reader who may write":             {[]string{"CLICKHOUSE_READER_URL=" + stack.address("CLICKHOUSE_URL")}, "clickhouse reader", doctor.Wrong, "may write"},
		"a warehouse that takes no files":    {[]string{"ICEBERG_WAREHOUSE=file://" + file}, "iceberg", doctor.Wrong, "not-a-folder"},
		"a token that was revoked":           {[]string{"GITHUB_TOKEN=x", "GITHUB_GRAPHQL_URL=" + github(401, 0, time.Now())}, "github", doctor.Wrong, "token 1 of 1 is refused"},
		"a token whose hour is nearly spent": {[]string{"GITHUB_TOKEN=x", "GITHUB_GRAPHQL_URL=" + github(200, 100, time.Now())}, "github", doctor.Warning, "octocat's, 100 of 5000 points left"},
		"a clock that is an hour off": {[]string{"GITHUB_TOKEN=x", "GITHUB_GRAPHQL_URL=" + github(200, 4000, time.Now().Add(time.Hour))}, "github", doctor.Wrong,
			"ahead of this machine's"},
	} {
		t.Run(name, func(t *testing.T) {
			found := diagnose(t, &pulse{t: t, home: stack.home, env: append([]string{"PULSE_HOME=" + stack.home}, p.env...)})
			for _, f := range found {
				if f.Subject == p.subject && f.Verdict == p.verdict && strings.Contains(f.Seen, p.seen) && f.Cure != "" {
					return
				}
			}
			t.Errorf("no finding %q of %s with %q and a cure among %+v", p.verdict, p.subject, p.seen, found)
		})
	}
	t.Run("a schema of a later release", func(t *testing.T) {
		conn, err := http.Post(stack.address("CLICKHOUSE_URL"), "text/plain", strings.NewReader("CREATE DATABASE IF NOT EXISTS pulse"))
		if err != nil {
			t.Fatal(err)
		}
		conn.Body.Close()
		for _, statement := range []string{
			"CREATE TABLE pulse.schema_versions (version UInt32, applied_at DateTime64(3)) ENGINE = ReplacingMergeTree ORDER BY version",
			"INSERT INTO pulse.schema_versions VALUES (99, now64(3))",
		} {
			answer, err := http.Post(stack.address("CLICKHOUSE_URL"), "text/plain", strings.NewReader(statement))
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatal(statement, answer, err)
			}
			answer.Body.Close()
		}
		for _, f := range diagnose(t, stack) {
			if f.Verdict == doctor.Wrong && strings.Contains(f.Seen, "its schema is version 99") {
				return
			}
		}
		t.Error("a schema of version 99 was not named")
	})
}

// diagnose runs the doctor, who must fail exactly if something is wrong.
func diagnose(t *testing.T, p *pulse) []doctor.Finding {
	t.Helper()
	out, err := p.try("doctor", "--json")
	var found []doctor.Finding
	if failed := json.Unmarshal([]byte(out), &found); failed != nil {
		t.Fatalf("%v: %v: %s", failed, err, out)
	}
	if wrong := doctor.Worst(found) == doctor.Wrong; wrong != (err != nil) {
		t.Errorf("the worst is %s, and the command ended with %v", doctor.Worst(found), err)
	}
	return found
}
