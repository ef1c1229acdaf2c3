package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/audit"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// clickHouse is what sink-clickhouse fills.
type clickHouse struct{ conn driver.Conn }

// Look reads the markers.
func (c clickHouse) Look(ctx context.Context) (Progress, error) {
	out := Progress{Function: "sink-clickhouse", Next: map[string]map[int32]int64{}}
	for _, topic := range []string{event.TopicProcessedRepos, event.TopicSweeps, event.TopicEvents, event.TopicFeedReads, event.TopicSignals} {
		marks, err := sinkclickhouse.Marks(ctx, c.conn, topic)
		if err != nil {
			return out, fmt.Errorf("sink-clickhouse: %w", err)
		}
		if topic == event.TopicProcessedRepos {
			out.Tables = []audit.Table{timeSeries{c.conn, marks}}
		}
		if topic == event.TopicEvents || topic == event.TopicSignals {
			// Read after the markers: at rest, no row is on its way that they do not cover.
			now, err := sinkclickhouse.Now(ctx, c.conn)
			if err != nil {
				return out, fmt.Errorf("sink-clickhouse: %w", err)
			}
			if topic == event.TopicEvents {
				out.Events = []audit.KeyedTable{hotTable{c.conn, now, sinkclickhouse.AccountEvents}}
			} else {
				out.Signals = []audit.KeyedTable{hotTable{c.conn, now, sinkclickhouse.AccountSignals}}
			}
		}
		next := map[int32]int64{}
		for _, m := range marks {
			next[m.Partition] = m.Next
		}
		out.Next[topic] = next
	}
	return out, nil
}

// Purge deletes the owner's rows.
func (c clickHouse) Purge(ctx context.Context, o Owner) error {
	return sinkclickhouse.Purge(ctx, c.conn, o.Login)
}

// timeSeries is the audited table of ClickHouse, up to some markers.
type timeSeries struct {
	conn  driver.Conn
	marks []kafka.Mark
}

// Describe implements audit.Table.
func (timeSeries) Describe() audit.Description {
	return audit.Description{System: "ClickHouse", Velocities: true}
}

// Account counts in ClickHouse itself.
func (t timeSeries) Account(ctx context.Context) (*account.Account, error) {
	return sinkclickhouse.AccountTo(ctx, t.conn, t.marks)
}

// List reads the rows.
func (t timeSeries) List(ctx context.Context, days []string, to account.Counter) error {
	return sinkclickhouse.List(ctx, t.conn, days, t.marks, to)
}

// hotTable is a table whose rows are known by a key, as it was at a time of the
// server's clock.
type hotTable struct {
	conn    driver.Conn
	at      time.Time
	account func(context.Context, driver.Conn, time.Time) (*account.Account, error)
}

// System implements audit.KeyedTable.
func (hotTable) System() string { return "ClickHouse" }

// Account counts in ClickHouse itself.
func (h hotTable) Account(ctx context.Context) (*account.Account, error) {
	return h.account(ctx, h.conn, h.at)
}
