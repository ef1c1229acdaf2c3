package clickhouse

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// TestStoreThatHoldsRatesIsUpgraded: one of the schema's version 7, which stored
// them, keeps their names and their values, also when an upgrade broke off.
func TestStoreThatHoldsRatesIsUpgraded(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: make long-test runs it")
	}
	e := start(t, t.TempDir())
	query := func(sql string) string {
		t.Helper()
		answer, err := http.Post("http://"+e.addr+"/", "text/plain", strings.NewReader(sql))
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v\n%s", sql, err, text)
		}
		return strings.TrimSpace(string(text))
	}
	schema, err := os.ReadFile("../../../functions/sink-clickhouse/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(schema), "\n-- version 8\n")
	if !ok {
		t.Fatal("the schema has no version 8")
	}
	_, latest, _ := strings.Cut(string(schema)[strings.LastIndex(string(schema), "\n-- version "):], "\n-- version ")
	latest, _, _ = strings.Cut(latest, "\n")
	query("CREATE DATABASE pulse")
	query("CREATE TABLE pulse.schema_versions (version UInt32, applied_at DateTime64(3)) ENGINE = ReplacingMergeTree ORDER BY version")
	query("INSERT INTO pulse.schema_versions SELECT number + 1, now64(3) FROM numbers(7)")
	for i, version := range strings.Split(before, "\n-- version ") {
		if i == 0 {
			continue // what the file says of itself
		}
		_, version, _ = strings.Cut(version, "\n")
		for statement := range strings.SplitSeq(version, "\n;\n") {
			if strings.TrimSpace(statement) != "" && strings.TrimSpace(statement) != ";" {
				query(strings.TrimSuffix(strings.TrimSpace(statement), ";"))
			}
		}
	}
	const columns = " (repo_id, name_with_owner, stars, observed_at, base_at_24h, stars_delta_24h, stars_per_day_24h, base_at_7d, forks_delta_7d, forks_per_day_7d) VALUES " +
		"(1, 'a/b', 100, '2026-01-09 00:00:00.000', '2026-01-07 12:00:00.000', 30, 20, '2026-01-01 00:00:00.000', -4, -0.5), " +
		"(2, 'a/c', 100, '2026-01-09 00:00:00.000', NULL, NULL, NULL, NULL, NULL, NULL)"
	tables := []string{"pulse.github_metrics_timeseries", "pulse.github_processed_repos"}
	for _, table := range tables {
		query("INSERT INTO " + table + columns)
	}
	const movements = "SELECT name_with_owner, stars_delta, stars_per_day FROM pulse.movements WHERE period = '24h' ORDER BY repo_id"
	const moved = "a/b\t30\t20\na/c\t\\N\t\\N"
	if got := query(movements); got != moved {
		t.Fatalf("before: %q", got)
	}
	upgraded := func(when string) {
		t.Helper()
		if err := sinkclickhouse.Prepare(t.Context(), "http://"+e.addr); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		for _, table := range tables {
			const rates = "SELECT repo_id, stars_per_day_24h, forks_per_day_7d, stars_per_day_30d FROM "
			if got, want := query(rates+table+" ORDER BY repo_id"), "1\t20\t-0.5\t\\N\n2\t\\N\t\\N\t\\N"; got != want {
				t.Errorf("%s: %s holds %q, want %q", when, table, got, want)
			}
			const kinds = "SELECT default_kind, count() FROM system.columns WHERE name LIKE '%_per_day_%' AND concat(database, '.', table) = "
			if got, want := query(kinds+"'"+table+"' GROUP BY default_kind"), fmt.Sprintf("ALIAS\t%d", len(velocity.Rates())); got != want {
				t.Errorf("%s: rates of %s: %q", when, table, got)
			}
		}
		if got := query(movements); got != moved {
			t.Errorf("%s: %q", when, got)
		}
		if got := query("SELECT max(version) FROM pulse.schema_versions"); got != latest {
			t.Errorf("%s: version %s, want %s", when, got, latest)
		}
	}
	upgraded("after the upgrade")
	query("ALTER TABLE pulse.schema_versions DELETE WHERE version >= 8 SETTINGS mutations_sync = 2")
	query("ALTER TABLE pulse.github_processed_repos DROP COLUMN stars_per_day_24h, DROP COLUMN forks_per_day_7d")
	upgraded("after one that broke off")
}
