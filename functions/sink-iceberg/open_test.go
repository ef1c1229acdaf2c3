package sinkiceberg

import (
	"maps"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

// What is opened before a step that fails is closed again: connections and their
// goroutines.
func TestOpeningThatFailsLeavesNothingOpen(t *testing.T) {
	whole := map[string]string{
		"KAFKA_BROKERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1", "ICEBERG_CATALOG_URI": "sqlite:///" + t.TempDir() + "/catalog.db", "ICEBERG_WAREHOUSE": t.TempDir(),
	}
	for variable, bad := range map[string]string{"SCHEMA_REGISTRY_URL": "ftp://x", "KAFKA_BROKERS": "127.0.0.1:none"} {
		environ := maps.Clone(whole)
		environ[variable] = bad
		servetest.FailsAndLeavesNothingOpen(t, variable, func() error { _, err := open(t.Context(), environ); return err })
	}
}

func TestInvalidAddressOfTheColdStoreIsRefusedByTheConfiguration(t *testing.T) {
	for _, c := range []struct{ variable, address string }{
		{"ICEBERG_CATALOG_URI", "ftp://x"}, {"ICEBERG_CATALOG_URI", "sqlite://relative.db"}, {"ICEBERG_CATALOG_URI", "http://host:none"}, {"ICEBERG_CATALOG_URI", "/tmp/catalog.db"},
		{"S3_ENDPOINT", "minio:9000"}, {"S3_ENDPOINT", "ftp://x"},
	} {
		_, err := serve.Load[Config](t.Context(), map[string]string{c.variable: c.address})
		if err == nil || strings.Count(err.Error(), c.variable) != 1 {
			t.Errorf("%s=%s: %v, want one fault in it", c.variable, c.address, err)
		}
	}
	for _, catalog := range []string{"sqlite:///var/lib/catalog.db", "http://nessie:19120/iceberg/main", "https://user:p@host/iceberg"} {
		if _, err := serve.Load[Config](t.Context(), map[string]string{"ICEBERG_CATALOG_URI": catalog, "S3_ENDPOINT": "http://[::1]:9000"}); err != nil {
			t.Errorf("%s: %v", catalog, err)
		}
	}
}
