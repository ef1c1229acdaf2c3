package pipeline

import (
	"context"
	"fmt"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// aggregateName is the function that computes.
const aggregateName = "aggregate"

// aggregateStage keeps its offsets in Kafka and histories in Redis. What it computes
// goes to Kafka, so it has no table.
type aggregateStage struct {
	kafka    kafka.Config
	redisURL string
}

// Look reads its consumer group's offsets.
func (s aggregateStage) Look(ctx context.Context) (Progress, error) {
	committed, err := kafka.Committed(ctx, s.kafka, aggregate.Group, event.TopicBaseRepos)
	if err != nil {
		return Progress{}, fmt.Errorf("aggregate: %w", err)
	}
	next := map[int32]int64{}
	for p, n := range committed {
		next[p.Number] = n
	}
	return Progress{Function: aggregateName, Next: map[string]map[int32]int64{event.TopicBaseRepos: next}}, nil
}

// Purge deletes the histories of the owner's repositories.
func (s aggregateStage) Purge(ctx context.Context, o Owner) error {
	return aggregate.Forget(ctx, s.redisURL, o.Repos)
}
