package sinkiceberg

import (
	"context"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// Purge deletes all rows of an owner, in each of its spellings, from all tables.
// Earlier snapshots still show them until they expire. It is safe to repeat, and to
// run while the sink is writing.
func Purge(ctx context.Context, c catalog.Catalog, spelt []string) error {
	if len(spelt) == 0 {
		return nil
	}
	filter := iceberg.IsIn(iceberg.Reference("owner"), spelt...)
	for _, name := range Tables() {
		if err := purge(ctx, c, name, filter); err != nil {
			return fmt.Errorf("delete %v from %s: %w", spelt, name, err)
		}
	}
	return nil
}

func purge(ctx context.Context, c catalog.Catalog, name string, filter iceberg.BooleanExpression) error {
	return amend(ctx, c, name, func(t *table.Table, tx *table.Transaction, props iceberg.Properties) error {
		if t.CurrentSnapshot() == nil {
			return errNoChange
		}
		return tx.Delete(ctx, filter, props)
	})
}
