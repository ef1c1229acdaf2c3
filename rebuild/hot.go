// Package rebuild fills one store again from the other.
package rebuild

import (
	"context"
	"errors"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Hot fills a second set of ClickHouse tables from Iceberg and exchanges it for the
// current one; what Kafka has beyond that the function stores afterwards. It returns
// the number of processed observations. It may be stopped and run again. progress is
// called with the rows done and to do.
func Hot(ctx context.Context, p *pipeline.Pipeline, env map[string]string, progress func(done, all int64)) (rows int64, err error) {
	partitions := 0
	for _, topic := range []string{event.TopicProcessedRepos, event.TopicSweeps, event.TopicEvents, event.TopicFeedReads, event.TopicSignals} {
		ends, err := kafka.Ends(ctx, p.Log.Kafka, topic)
		if err != nil {
			return 0, err
		}
		partitions = max(partitions, len(ends))
	}
	if rows, err = sinkiceberg.Rows(ctx, p.Cold, sinkiceberg.TableProcessed); err != nil {
		return 0, err
	}
	hot, err := sinkclickhouse.BeginRebuild(ctx, env, partitions)
	if err != nil {
		return 0, err
	}
	done := int64(0)
	err = fill(ctx, p, hot, func(n int) {
		done += int64(n)
		progress(done, rows)
	})
	return rows, errors.Join(err, hot.Close())
}

func fill(ctx context.Context, p *pipeline.Pipeline, hot *sinkclickhouse.Rebuild, stored func(rows int)) error {
	processed, err := sinkiceberg.ReadProcessed(ctx, p.Cold, nil, func(rows []*event.RepoProcessed) error {
		stored(len(rows))
		return hot.Processed(rows)
	})
	if err != nil {
		return err
	}
	swept, err := sinkiceberg.ReadSwept(ctx, p.Cold, hot.Swept)
	if err != nil {
		return err
	}
	happened, err := sinkiceberg.ReadEvents(ctx, p.Cold, nil, hot.Events)
	if err != nil {
		return err
	}
	reads, err := sinkiceberg.ReadFeedReads(ctx, p.Cold, hot.FeedReads)
	if err != nil {
		return err
	}
	signals, err := sinkiceberg.ReadSignals(ctx, p.Cold, hot.Signals)
	if err != nil {
		return err
	}
	return hot.Publish(map[string][]kafka.Mark{
		event.TopicProcessedRepos: processed.Marks(), event.TopicSweeps: swept.Marks(), event.TopicEvents: happened.Marks(), event.TopicFeedReads: reads.Marks(),
		event.TopicSignals: signals.Marks(),
	})
}
