package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/pipeline"
)

type maintainCommand struct {
	KeepSnapshots time.Duration `default:"168h" help:"Expire older snapshots. 0s expires all but the current one and breaks long scans that are running."`
	KeepOrphans   time.Duration `default:"72h" help:"Delete older files that belong to no snapshot; 1h or more."`
	JSON          bool          `help:"Print JSON."`
}

// Run maintains the cold store. It may run beside the sink, and be stopped and
// started again.
func (m *maintainCommand) Run(ctx context.Context, p *place) error {
	env, err := p.addresses()
	if err != nil {
		return err
	}
	at, err := pipeline.IcebergLocation(ctx, env)
	if err != nil {
		return err
	}
	quiet() // the library logs every file
	c, closeCatalog, err := sinkiceberg.Open(ctx, at)
	if err != nil {
		return err
	}
	bar := newBar("compacted", "files")
	var done []sinkiceberg.Maintenance
	keep := sinkiceberg.Keep{Snapshots: m.KeepSnapshots, Orphans: m.KeepOrphans}
	err = sinkiceberg.Maintain(ctx, c, keep, func(now sinkiceberg.Maintenance) {
		bar.describe(now.Table)
		bar.show(int64(now.Compacted), -1)
		if len(done) == 0 || done[len(done)-1].Table != now.Table {
			done = append(done, now)
		}
		done[len(done)-1] = now
	})
	bar.close()
	if err := errors.Join(err, closeCatalog()); err != nil {
		return err
	}
	if m.JSON {
		return printJSON(done)
	}
	t := newTable("Table", "Files before", "after", "Snapshots expired", "Orphans deleted", "MB")
	for _, d := range done {
		t.AppendRow(table.Row{d.Table, count(int64(d.Files)), count(int64(d.Files - d.Compacted + d.Written)),
			count(int64(d.Snapshots)), count(int64(d.Orphans)), fmt.Sprintf("%.1f", float64(d.OrphanBytes)/1e6)})
	}
	t.Render()
	for _, d := range done {
		if d.Kept != "" {
			fmt.Printf("%s: snapshots and orphans left alone. %s.\n", d.Table, d.Kept)
		}
	}
	return nil
}
