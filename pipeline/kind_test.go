package pipeline_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
)

// TestStoresThatAreSharedKeepTheirKind: two homes of different kinds that are
// given the address of one store.
func TestStoresThatAreSharedKeepTheirKind(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	redis := miniredis.RunT(t)
	dir := t.TempDir()
	for name, env := range map[string]map[string]string{
		"KAFKA_BROKERS":       {"KAFKA_BROKERS": strings.Join(broker.ListenAddrs(), ",")},
		"REDIS_URL":           {"REDIS_URL": "redis://" + redis.Addr()},
		"ICEBERG_CATALOG_URI": {"ICEBERG_CATALOG_URI": "sqlite://" + filepath.Join(dir, "catalog.db"), "ICEBERG_WAREHOUSE": "file://" + filepath.Join(dir, "warehouse")},
	} {
		for _, kind := range []stack.Kind{"recorded", "emulated", "recorded"} {
			err := pipeline.KeepKind(t.Context(), env, kind)
			if refused := errors.Is(err, stack.ErrKind) && strings.Contains(err.Error(), name); refused != (kind != "recorded") || !refused && err != nil {
				t.Errorf("%s is started as %s: %v", name, kind, err)
			}
		}
	}
	// A start that one store refuses leaves no note in another.
	other := miniredis.RunT(t)
	both := map[string]string{"REDIS_URL": "redis://" + other.Addr(), "KAFKA_BROKERS": strings.Join(broker.ListenAddrs(), ",")}
	if err := pipeline.KeepKind(t.Context(), both, "emulated"); !errors.Is(err, stack.ErrKind) {
		t.Fatal(err)
	}
	if keys := other.Keys(); len(keys) != 0 {
		t.Errorf("a refused start wrote %v", keys)
	}
}
