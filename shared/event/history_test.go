package event_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hamba/avro/v2"

	"github.com/m7pulse/m7pulse/shared/event"
)

// schemas/history/<subject>/<n>.avsc is every version that was ever registered.
// A schema that changes gets a new version there, which must be able to read
// all that the versions before it wrote.
func TestSchemaHistoryIsBackwardCompatibleAndUpToDate(t *testing.T) {
	for _, c := range event.Contracts() {
		dir := filepath.Join("schemas", "history", c.Subject())
		versions, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var before []avro.Schema
		newest := ""
		for n := range versions {
			text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.avsc", n+1)))
			if err != nil {
				t.Fatal(err)
			}
			schema, err := avro.ParseWithCache(string(text), "", &avro.SchemaCache{})
			if err != nil {
				t.Fatalf("%s version %d: %v", c.Subject(), n+1, err)
			}
			for old, wrote := range before {
				if err := avro.NewSchemaCompatibility().Compatible(schema, wrote); err != nil {
					t.Errorf("%s version %d cannot read what version %d wrote: %v", c.Subject(), n+1, old+1, err)
				}
			}
			before, newest = append(before, schema), string(text)
		}
		if newest != c.Schema {
			t.Errorf("%s: the schema in use is not the newest in %s: add it there as version %d", c.Subject(), dir, len(versions)+1)
		}
	}
}
