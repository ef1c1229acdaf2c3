package sinkiceberg

import (
	"context"
	"fmt"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
)

// Forget deletes the events in which accounts act or are the author of what is acted
// on. Earlier snapshots still show them until they expire. It is safe to repeat, and to
// run while the sink is writing.
func Forget(ctx context.Context, c catalog.Catalog, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	// A delete keeps the rows for which the filter is false. For one that is null it is
	// neither, unless the filter says that it must not be.
	is := func(field string) iceberg.BooleanExpression {
		return iceberg.NewAnd(iceberg.NotNull(iceberg.Reference(field)), iceberg.IsIn(iceberg.Reference(field), ids...))
	}
	if err := purge(ctx, c, TableEvents, iceberg.NewOr(is("actor_id"), is("author_id"))); err != nil {
		return fmt.Errorf("delete the events of %d accounts: %w", len(ids), err)
	}
	return nil
}
