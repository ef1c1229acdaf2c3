package main

import (
	"context"
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/rebuild"
)

type rebuildCommand struct {
	Hot rebuildHot `cmd:"" help:"Fill a second set of ClickHouse tables and exchange it for the current one."`
}

type rebuildHot struct {
	From string `required:"" enum:"cold" placeholder:"cold" help:"Source: cold, the tables in Iceberg."`
	JSON bool   `help:"Print JSON."`
}

// Run makes the hot store hold what the cold store holds; what Kafka has beyond
// that the function stores afterwards. It may be stopped and started again.
func (r *rebuildHot) Run(ctx context.Context, p *place) error {
	s, env, err := p.pipeline(ctx)
	if err != nil {
		return err
	}
	defer closeStores(s)
	began := time.Now()
	bar := newBar("rebuild hot", "rows")
	rows, err := rebuild.Hot(ctx, s, env, bar.show)
	bar.close()
	if err != nil {
		return err
	}
	seconds := time.Since(began).Seconds()
	if r.JSON {
		return printJSON(map[string]any{"rows": rows, "seconds": seconds})
	}
	fmt.Printf("hot: %s rows in %.1f s\n", count(rows), seconds)
	return nil
}
