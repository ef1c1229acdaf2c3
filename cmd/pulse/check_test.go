package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/infra/local/stack"
)

func TestUpNamesEachAddressThatCannotBeRight(t *testing.T) {
	for name, addresses := range map[string][]string{
		"KAFKA_BROKERS":         {"localhost", ":9092"},
		"SCHEMA_REGISTRY_URL":   {"localhost:8081", "ftp://host", "http://", "http://host:99999", "http://us er@host"},
		"REDIS_URL":             {"localhost:6379", "http://localhost", "redis://host:port"},
		"CLICKHOUSE_URL":        {"localhost:8123", "redis://host:6379", "http://:8123", "clickhouse://host:0", "http://a:%zz@host"},
		"CLICKHOUSE_READER_URL": {"reader@host"},
		"ICEBERG_CATALOG_URI":   {"/tmp/catalog.db", "sqlite://relative/catalog.db", "sqlite:///tmp/a#b/catalog.db", "http:/host"},
		"ICEBERG_WAREHOUSE":     {"file:///tmp/a%20b", "file:///tmp/a?b"},
		"S3_ENDPOINT":           {"minio:9000"},
		"CONNECT_URL":           {"connect:8083"},
		"TRINO_URL":             {"http://host:8080", "trino://user@host"},
		"GITHUB_GRAPHQL_URL":    {"api.github.com/graphql"},
		"OWNERS":                {"a b!"},
	} {
		for _, address := range addresses {
			p := &place{home: stack.Home(t.TempDir()), root: "../..", env: map[string]string{"GITHUB_TOKEN": "t", "ICEBERG_WAREHOUSE": "file:///tmp/w"}}
			p.env[name] = address
			if err := checkStart(t.Context(), p); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v", name, address, err)
			}
		}
	}
}

func TestUpTakesAddressesThatMayBeRight(t *testing.T) {
	good := map[string]string{
		"KAFKA_BROKERS": "a:9092,b:9092", "SCHEMA_REGISTRY_URL": "https://user:p%23ss@host/apis/ccompat/v7", "REDIS_URL": "rediss://:p@host:6379/2",
		"CLICKHOUSE_URL": "clickhouse://user:p@host:9000?secure=true", "CLICKHOUSE_READER_URL": "http://reader:p@host:8123",
		"ICEBERG_CATALOG_URI": "sqlite:///var/lib/catalog.db", "ICEBERG_WAREHOUSE": "s3://bucket", "S3_ENDPOINT": "http://[::1]:9000",
		"TRINO_URL": "http://reader@host:8080", "GITHUB_GRAPHQL_URL": "https://ghe.example/api/graphql", "GITHUB_TOKEN": "t", "OWNERS": "meta=facebook",
	}
	for name, change := range map[string]string{"": "", "CLICKHOUSE_URL": "https://host", "ICEBERG_CATALOG_URI": "http://nessie:19120/iceberg/main", "REDIS_URL": "redis://host"} {
		p := &place{home: stack.Home(t.TempDir()), root: "../..", env: maps.Clone(good)}
		if name != "" {
			p.env[name] = change
		}
		if err := checkStart(t.Context(), p); err != nil {
			t.Errorf("%s=%s: %v", name, change, err)
		}
	}
}

func TestUpNamesAHomeThatCannotBeTheWarehouse(t *testing.T) {
	for _, name := range []string{"a#b", "a?b", "a%20b", "a\nb"} {
		p := &place{home: stack.Home(filepath.Join(t.TempDir(), name)), root: "../..", env: map[string]string{}}
		if err := checkStart(t.Context(), p); err == nil || !strings.Contains(err.Error(), "PULSE_HOME") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestUpNamesTheFaultsOfTheRulesOfSignals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("targets: {team: {slack: 'https://hooks.example/PASSWORD'}}\nrules: [{to: [them]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &place{home: stack.Home(t.TempDir()), root: "../..", env: map[string]string{"SIGNALS_FILE": file}}
	if err := checkStart(t.Context(), p); err == nil || !strings.Contains(err.Error(), `rule 1: there is no target "them"`) || strings.Contains(err.Error(), "PASSWORD") {
		t.Errorf("%v", err)
	}
	if p.env["SIGNALS_FILE"] = ""; checkStart(t.Context(), p) != nil {
		t.Errorf("no file: %v", checkStart(t.Context(), p))
	}
}

func TestUpNamesTheFaultsOfTheOwnersFileThatTheEnvironmentNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("people:\n  - torvalds\n  - null\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &place{home: stack.Home(t.TempDir()), root: "../..", env: map[string]string{"GITHUB_TOKEN": "t", "OWNERS_FILE": file}}
	if err := checkStart(t.Context(), p); err == nil || !strings.Contains(err.Error(), "mine.yaml: line 3: ") {
		t.Errorf("%v", err)
	}
	if p.env["OWNERS_FILE"] = ""; checkStart(t.Context(), p) != nil {
		t.Errorf("no file: %v", checkStart(t.Context(), p))
	}
	if got, want := stack.OwnersFile(map[string]string{}, "/root"), "/root/owners.yaml"; got != want {
		t.Errorf("without OWNERS_FILE it is %s", got)
	}
	if delete(p.env, "GITHUB_TOKEN"); checkStart(t.Context(), p) != nil {
		t.Error("a stack that sweeps nothing reads the owners")
	}
}
