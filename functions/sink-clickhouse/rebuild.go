package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// Rebuild fills a second set of the store's tables from elsewhere and puts it in
// the place of the first. As long as it lasts it is the only writer; the
// function waits, and readers see the old tables.
//
// The markers are taken away before the tables change places and come back
// after. A rebuild that ended in between leaves a store without markers, to
// which no sink writes; it takes another rebuild. So it may be ended and
// repeated at any point.
type Rebuild struct {
	store   *store
	writer  *writer
	fenced  context.Context
	unfence context.CancelFunc
	pending []*row
	rows    uint64 // given to the time series
	events  uint64 // given to github_events

	restoreMemory func()
}

// rebuildGC is how much garbage, in percent of what is held, may gather: less
// than usual, for cold files are in memory too.
const rebuildGC = 50

// BeginRebuild waits until it is the only writer of all partitions, and creates the
// second set again. partitions is the number of those of the topic that has the most;
// environ is the function's.
func BeginRebuild(ctx context.Context, environ map[string]string, partitions int) (*Rebuild, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	hot, err := newStore(cfg.ClickHouse, answerLimit)
	if err != nil {
		return nil, err
	}
	rdb, err := redisclient.New(cfg.Redis)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("invalid REDIS_URL: %w", err), hot.conn.Close())
	}
	r := &Rebuild{store: hot, writer: &writer{redis: rdb, store: hot}, unfence: func() {}, restoreMemory: serve.Memory{Garbage: rebuildGC}.Set()}
	if err := r.begin(ctx, partitions); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// tables are those of a set, besides the markers. The second set is named new_*.
func tables() []string {
	return []string{"github_processed_repos", "github_daily", "github_pushes", "github_metrics_timeseries", "sweeps", "github_events", "github_feed_reads", "github_signals"}
}

func (r *Rebuild) begin(ctx context.Context, partitions int) error {
	if err := r.store.prepare(ctx); err != nil {
		return err
	}
	all := make([]int32, partitions)
	for i := range all {
		all[i] = int32(i)
	}
	if err := r.writer.acquireAll(ctx, all); err != nil {
		return err
	}
	fenced, unfence, err := r.writer.fence(ctx)
	if err != nil {
		return err
	}
	r.fenced, r.unfence = fenced, unfence
	if err := r.store.readClock(ctx); err != nil {
		return err
	}
	for _, t := range tables() {
		if err := r.exec("DROP TABLE IF EXISTS pulse.new_"+t+"", "CREATE TABLE pulse.new_"+t+" AS pulse."+t); err != nil {
			return err
		}
	}
	markers := "pulse.sink_commits"
	if exists, err := r.exists("sink_commits"); err != nil {
		return err
	} else if !exists {
		markers = "pulse.old_sink_commits"
	}
	return r.exec("DROP TABLE IF EXISTS pulse.new_sink_commits", "CREATE TABLE pulse.new_sink_commits AS "+markers)
}

// Processed adds processed observations. They must come once each.
func (r *Rebuild) Processed(rows []*event.RepoProcessed) error {
	for _, p := range rows {
		// Their origin is not known, and need not be: the markers cover them.
		r.pending = append(r.pending, &row{RepoProcessed: p, partition: -1, offset: -1})
		if len(r.pending) == bulkBlock {
			if err := r.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Rebuild) flush() error {
	if err := r.store.add(r.fenced, "pulse.new_", r.pending, r.pending); err != nil {
		return err
	}
	u := newPending()
	u.add(r.pending)
	if err := r.store.insertState(r.fenced, "pulse.new_", u); err != nil {
		return err
	}
	r.rows += uint64(len(r.pending))
	r.pending = r.pending[:0]
	return nil
}

// Swept adds ledger lines. A line may come again.
func (r *Rebuild) Swept(lines []*event.OwnerSwept) error {
	return insert(r.fenced, r.store, "pulse.new_sweeps", sweepColumns(), lines)
}

// Events adds events of feeds. They must come once each.
func (r *Rebuild) Events(rows []*event.GitHubEvent) error {
	r.events += uint64(len(rows))
	return r.store.addEvents(r.fenced, "pulse.new_", rows)
}

// FeedReads adds ledger lines of feeds. A line may come again.
func (r *Rebuild) FeedReads(lines []*event.FeedRead) error {
	return insert(r.fenced, r.store, "pulse.new_github_feed_reads", feedReadColumns(), lines)
}

// Signals adds signals. One may come again.
func (r *Rebuild) Signals(rows []*event.Signal) error {
	return insert(r.fenced, r.store, "pulse.new_github_signals", signalColumns(), rows)
}

// Publish puts the second set in the place of the first, once it holds all it
// was given. marks are up to where each partition of each topic is in it: from
// there on the function stores what Kafka has.
func (r *Rebuild) Publish(marks map[string][]kafka.Mark) error {
	if err := r.flush(); err != nil {
		return err
	}
	for table, want := range map[string]uint64{"github_metrics_timeseries": r.rows, "github_events": r.events} {
		var rows uint64
		if err := r.store.conn.QueryRow(r.fenced, "SELECT count() FROM pulse.new_"+table).Scan(&rows); err != nil {
			return fmt.Errorf("count what was rebuilt: %w", err)
		}
		if rows != want {
			return fmt.Errorf("the rebuilt %s holds %d rows of %d: nothing was changed", table, rows, want)
		}
	}
	var markers []*marker
	for topic, of := range marks {
		for _, m := range of {
			markers = append(markers, &marker{topic, m.TopicID, m.Partition, 0, m.Next})
		}
	}
	if err := r.store.mark(r.fenced, "pulse.new_sink_commits", markers); err != nil {
		return err
	}
	exists, err := r.exists("sink_commits")
	if err != nil {
		return err
	}
	if exists {
		if err := r.exec("DROP TABLE IF EXISTS pulse.old_sink_commits", "RENAME TABLE pulse.sink_commits TO pulse.old_sink_commits"); err != nil {
			return err
		}
	}
	for _, t := range tables() {
		if err := r.exec("EXCHANGE TABLES pulse.new_" + t + " AND pulse." + t); err != nil {
			return err
		}
	}
	if err := r.exec("RENAME TABLE pulse.new_sink_commits TO pulse.sink_commits", "DROP TABLE pulse.old_sink_commits"); err != nil {
		return err
	}
	for _, t := range tables() {
		if err := r.exec("DROP TABLE pulse.new_" + t + ""); err != nil {
			return err
		}
	}
	return nil
}

func (r *Rebuild) exec(statements ...string) error {
	for _, s := range statements {
		if err := r.store.conn.Exec(r.fenced, s); err != nil {
			r.writer.noteFailure(err)
			return fmt.Errorf("rebuild: %s: %w", s, err)
		}
	}
	return nil
}

func (r *Rebuild) exists(table string) (bool, error) {
	var n uint64
	err := r.store.conn.QueryRow(r.fenced, "SELECT count() FROM system.tables WHERE database = 'pulse' AND name = ?", table).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for table %s: %w", table, err)
	}
	return n > 0, nil
}

// Close releases the right to write. What was not published is dropped by the
// next rebuild.
func (r *Rebuild) Close() error {
	defer r.restoreMemory()
	r.unfence()
	return errors.Join(r.writer.release(), r.writer.redis.Close(), r.store.conn.Close())
}
