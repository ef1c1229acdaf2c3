package sinkiceberg

import (
	"maps"
	"testing"
	"time"

	"go.uber.org/goleak"
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
		before := goleak.IgnoreCurrent()
		if _, err := open(t.Context(), environ); err == nil {
			t.Errorf("%s=%s is taken", variable, bad)
		}
		for deadline := time.Now().Add(5 * time.Second); ; {
			err := goleak.Find(before)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: %.300s", variable, err)
				break
			}
		}
	}
}
