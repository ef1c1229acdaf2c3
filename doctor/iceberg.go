package doctor

import (
	"context"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/pipeline"
)

func icebergCatalog(ctx context.Context, of Installation, n *notes) error {
	at, err := pipeline.IcebergLocation(ctx, of.Env)
	if err != nil {
		return err
	}
	tables, err := sinkiceberg.Probe(ctx, at)
	if err != nil {
		return err
	}
	if tables == 0 {
		n.ok("the catalog answers; no tables yet: the sink makes them with its first event")
		return nil
	}
	n.ok("%d tables, and the warehouse takes files", tables)
	return nil
}
