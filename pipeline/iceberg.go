package pipeline

import (
	"context"
	"fmt"

	"github.com/apache/iceberg-go/catalog"

	"github.com/m7pulse/m7pulse/audit"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
)

// iceberg is what sink-iceberg fills.
type iceberg struct{ catalog catalog.Catalog }

// Look reads the offsets in the tables' snapshots.
func (i iceberg) Look(ctx context.Context) (Progress, error) {
	out := Progress{Function: "sink-iceberg", Next: map[string]map[int32]int64{}}
	for _, table := range []struct {
		name, topic string
		audited     *audit.Description
	}{
		{sinkiceberg.TableBase, event.TopicBaseRepos, &audit.Description{System: "Iceberg", Name: sinkiceberg.TableBase, Label: "raw", Details: true}},
		{sinkiceberg.TableProcessed, event.TopicProcessedRepos, &audit.Description{System: "Iceberg", Name: sinkiceberg.TableProcessed, Label: "processed", Details: true, Velocities: true}},
		{sinkiceberg.TableSweeps, event.TopicSweeps, nil},
		{sinkiceberg.TableEvents, event.TopicEvents, nil},
		{sinkiceberg.TableFeedReads, event.TopicFeedReads, nil},
		{sinkiceberg.TableSignals, event.TopicSignals, nil},
	} {
		snapshot, err := sinkiceberg.LoadSnapshot(ctx, i.catalog, table.name)
		if err != nil {
			return out, fmt.Errorf("sink-iceberg: %w", err)
		}
		if out.Next[table.topic], err = snapshot.Marks(); err != nil {
			return out, fmt.Errorf("sink-iceberg: %w", err)
		}
		switch table.name {
		case sinkiceberg.TableEvents:
			out.Events = []audit.KeyedTable{coldTable(snapshot.AccountEvents)}
		case sinkiceberg.TableSignals:
			out.Signals = []audit.KeyedTable{coldTable(snapshot.AccountSignals)}
		}
		if table.audited != nil {
			out.Tables = append(out.Tables, icebergTable{*table.audited, snapshot})
		}
	}
	return out, nil
}

// Purge deletes the owner's rows from all tables.
func (i iceberg) Purge(ctx context.Context, o Owner) error {
	return sinkiceberg.Purge(ctx, i.catalog, o.Spelt)
}

// icebergTable is an audited table as it was at a snapshot.
type icebergTable struct {
	description audit.Description
	snapshot    *sinkiceberg.Snapshot
}

// Describe implements audit.Table.
func (t icebergTable) Describe() audit.Description { return t.description }

// Account reads all rows and counts them on disk.
func (t icebergTable) Account(ctx context.Context) (*account.Account, error) {
	count := account.NewCount()
	err := t.snapshot.Account(ctx, nil, count)
	a, counted := count.Account() // it closes its file, whatever has failed
	if err != nil {
		return nil, err
	}
	return a, counted
}

// List reads the rows.
func (t icebergTable) List(ctx context.Context, days []string, to account.Counter) error {
	return t.snapshot.Account(ctx, days, to)
}

// coldTable passes the rows of a table whose rows are known by a key, as it was at a
// snapshot.
type coldTable func(context.Context, account.Counter) error

// System implements audit.KeyedTable.
func (coldTable) System() string { return "Iceberg" }

// Account reads all rows and counts them on disk.
func (read coldTable) Account(ctx context.Context) (*account.Account, error) {
	count := account.NewCount()
	err := read(ctx, count)
	a, counted := count.Account() // it closes its file, whatever has failed
	if err != nil {
		return nil, err
	}
	return a, counted
}
