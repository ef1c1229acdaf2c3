package reprocess

import (
	"context"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// State discards the histories in Redis and builds them again from Kafka, and from
// Iceberg where Kafka's retention has deleted observations, or always. progress is
// called with the records read and to read. It may be stopped and run again.
func State(ctx context.Context, env map[string]string, always bool, progress func(done, all int64)) (records int64, iceberg bool, err error) {
	archive, err := archive(ctx, env, always)
	if err != nil {
		return 0, false, err
	}
	records, err = aggregate.Rebuild(ctx, env, archive, progress)
	return records, archive != nil, err
}

// archive is Iceberg, or nil if it is not needed.
func archive(ctx context.Context, env map[string]string, always bool) (aggregate.Archive, error) {
	if !always {
		cfg, err := stack.KafkaOf(ctx, env)
		if err != nil {
			return nil, err
		}
		if truncated, err := kafka.Truncated(ctx, cfg, event.TopicBaseRepos); err != nil || !truncated {
			return nil, err
		}
	}
	p, err := pipeline.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, each func([]*event.RepoObserved) error) (string, map[int32]int64, error) {
		at, err := sinkiceberg.ReadObserved(ctx, p.Cold, nil, each)
		_ = p.Close() // all was read
		return at.TopicID, at.Next, err
	}, nil
}
