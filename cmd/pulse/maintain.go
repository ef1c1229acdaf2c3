package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/knative"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/retention"
)

type maintainCommand struct {
	KeepSnapshots time.Duration `default:"168h" help:"Expire older snapshots. 0s expires all but the current one and breaks long scans that are running."`
	KeepOrphans   time.Duration `default:"72h" help:"Delete older files that belong to no snapshot; 1h or more."`
	DryRun        bool          `help:"Say what would be done, and of all stores how long they keep what and what has outlived that; change nothing."`
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
	keep := sinkiceberg.Keep{Snapshots: m.KeepSnapshots, Orphans: m.KeepOrphans}
	if m.DryRun {
		would, err := sinkiceberg.Preview(ctx, c, keep)
		if err := errors.Join(err, closeCatalog()); err != nil {
			return err
		}
		return m.printKept(ctx, env, would)
	}
	bar := newBar("compacted", "files")
	var done []sinkiceberg.Maintenance
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
	printMaintenance(done, "after", "Snapshots expired", "Orphans deleted")
	return nil
}

// printKept prints what maintenance would do, and what each store keeps. A store that
// does not answer is an error after what the others say.
func (m *maintainCommand) printKept(ctx context.Context, env map[string]string, would []sinkiceberg.Maintenance) error {
	topics, err := knative.ReadTopics()
	if err != nil {
		return err
	}
	kept, failed := retention.Read(ctx, env, topics)
	if m.JSON {
		return errors.Join(failed, printJSON(map[string]any{"iceberg": would, "stores": kept}))
	}
	fmt.Println("Iceberg keeps each row for ever. pulse maintain would do this; nothing has been done:")
	printMaintenance(would, "after, about", "Snapshots to expire", "Orphans to delete")
	fmt.Println("\nThe other stores delete by themselves what is due:")
	t := newTable("Store", "What", "Kept", "There now", "", "MB", "Oldest", "Due")
	for _, k := range kept {
		oldest := "–"
		if k.Oldest != nil {
			oldest = k.Oldest.Format(time.DateOnly)
		}
		t.AppendRow(table.Row{k.Store, k.What, keptFor(k.For), count(k.Count), k.Unit, fmt.Sprintf("%.1f", float64(k.Bytes)/1e6), oldest, count(k.Due)})
	}
	t.Render()
	return failed
}

// keptFor writes how long something is kept, in days from two days on.
func keptFor(d time.Duration) string {
	switch {
	case d == retention.Forever:
		return "for ever"
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

func printMaintenance(done []sinkiceberg.Maintenance, after, snapshots, orphans string) {
	t := newTable("Table", "Files before", after, snapshots, orphans, "MB")
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
}
