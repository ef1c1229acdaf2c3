package sinkiceberg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// Purge deletes all rows of an owner, in each of its spellings, from all tables.
// Snapshots made before still show them until they are expired. It may be done
// again, and while the sink is writing.
func Purge(ctx context.Context, c catalog.Catalog, spelt []string) error {
	if len(spelt) == 0 {
		return nil
	}
	filter := iceberg.IsIn(iceberg.Reference("owner"), spelt...)
	for _, name := range []string{TableBase, TableProcessed, TableSweeps} {
		if err := purge(ctx, c, name, filter); err != nil {
			return fmt.Errorf("delete %v from %s: %w", spelt, name, err)
		}
	}
	return nil
}

func purge(ctx context.Context, c catalog.Catalog, name string, filter iceberg.BooleanExpression) error {
	for try := 1; ; try++ {
		t, err := c.LoadTable(ctx, table.Identifier{namespace, name})
		if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.CurrentSnapshot() == nil {
			return nil
		}
		// As every commit, this one repeats how far the topic is stored.
		at, err := readOffsets(t)
		if err != nil {
			return err
		}
		props, err := at.properties()
		if err != nil {
			return err
		}
		tx := t.NewTransaction()
		if err := tx.AssertRefSnapshotID(""); err != nil {
			return err
		}
		if err := tx.Delete(ctx, filter, props); err != nil {
			return err
		}
		if _, err = tx.Commit(ctx); err == nil {
			return nil
		}
		if !conflict(err) || try == commitTries {
			return err
		}
		select {
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
