package fetchorg

import (
	"maps"
	"testing"

	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

// What is opened before a step that fails is closed again: connections and their
// goroutines.
func TestOpeningThatFailsLeavesNothingOpen(t *testing.T) {
	whole := map[string]string{
		"KAFKA_BROKERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1", "GITHUB_TOKEN": "t", "OWNERS": "acme",
	}
	for variable, bad := range map[string]string{"SCHEMA_REGISTRY_URL": "ftp://x", "KAFKA_BROKERS": "127.0.0.1:none"} {
		environ := maps.Clone(whole)
		environ[variable] = bad
		servetest.FailsAndLeavesNothingOpen(t, variable, func() error { _, err := open(t.Context(), environ); return err })
	}
}
