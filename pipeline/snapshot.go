package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/m7pulse/m7pulse/audit"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Snapshot is what the pipeline held at one time: how far each stage was, and where
// the topics ended after that. A reader of it leaves out whatever came later.
type Snapshot struct {
	Lag map[string]int64 // by function: records that it had not stored, if any

	ends    kafka.Offsets
	tables  []audit.Table
	events  []audit.KeyedTable
	signals []audit.KeyedTable
}

// AtRest says whether no stage had work left, so that all stores must hold the same.
func (s *Snapshot) AtRest() bool { return len(s.Lag) == 0 }

// Snapshot reads how far every stage is before the ends that it is compared with: a
// stage that has then reached its topic's end had reached it all the time.
func (p *Pipeline) Snapshot(ctx context.Context) (*Snapshot, error) {
	out := &Snapshot{Lag: map[string]int64{}}
	var all []Progress
	for _, s := range p.stages {
		progress, err := s.Look(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, progress)
		out.tables, out.events, out.signals = append(out.tables, progress.Tables...), append(out.events, progress.Events...), append(out.signals, progress.Signals...)
	}
	// The ledger says what was seen, so its end is read before those of the
	// observations.
	ledger, err := kafka.Ends(ctx, p.Log.Kafka, event.TopicSweeps, event.TopicFeedReads)
	if err != nil {
		return nil, err
	}
	if out.ends, err = kafka.Ends(ctx, p.Log.Kafka, event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicEvents, event.TopicSignals); err != nil {
		return nil, err
	}
	maps.Copy(out.ends, ledger)
	starts, err := kafka.Starts(ctx, p.Log.Kafka, event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSweeps, event.TopicEvents, event.TopicFeedReads, event.TopicSignals)
	if err != nil {
		return nil, err
	}
	for _, progress := range all {
		if left := progress.behind(starts, out.ends); left > 0 {
			out.Lag[progress.Function] += left
		}
	}
	return out, nil
}

// behind counts the records that were not stored, control records among them.
func (p Progress) behind(starts, ends kafka.Offsets) (records int64) {
	for topic, next := range p.Next {
		done, to := kafka.Offsets{}, maps.Clone(ends)
		maps.DeleteFunc(to, func(p kafka.Partition, _ int64) bool { return p.Topic != topic })
		for number, n := range next {
			done[kafka.Partition{Topic: topic, Number: number}] = n
		}
		records += done.Behind(starts, to)
	}
	return records
}

// Audit compares what the stores held at a snapshot.
func (p *Pipeline) Audit(ctx context.Context, at *Snapshot) (*audit.Report, error) {
	reprocessed, err := sinkiceberg.Reprocessed(ctx, p.Cold)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	report, err := audit.Compare(ctx, p.Log, audit.Moment{Ends: at.ends, Tables: at.tables, Events: at.events, Signals: at.signals, Reprocessed: reprocessed})
	if err != nil {
		return nil, err
	}
	gaps, err := sinkclickhouse.ReadFeedGaps(ctx, p.Hot)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	report.FeedGaps = &gaps
	return report, nil
}

// wakeAfter is how long a stage may be behind before it is woken: a bell may
// have been lost, and its own wake is minutes away.
const wakeAfter = 3 * time.Second

// Runner is what runs the functions, and knows of those who feed them.
type Runner interface {
	// Replays counts the other processes that are replaying into the pipeline.
	Replays() (int, error)
	// Wake makes a function process what is left.
	Wake(ctx context.Context, function string) error
}

// WaitAtRest waits until replays have ended and no stage is behind, and returns what
// the pipeline held then.
func (p *Pipeline) WaitAtRest(ctx context.Context, r Runner) (*Snapshot, error) {
	wake := time.Now().Add(wakeAfter)
	var lag map[string]int64 // when it was last known
	for {
		replays, err := r.Replays()
		if err != nil {
			return nil, err
		}
		at, err := p.Snapshot(ctx)
		if err == nil {
			lag = at.Lag
		}
		if err == nil && replays == 0 && at.AtRest() {
			return at, nil
		}
		if err == nil && replays == 0 && time.Now().After(wake) {
			for f := range lag {
				// A failed wake is repeated as long as there is a lag.
				_ = r.Wake(ctx, f)
			}
			wake = time.Now().Add(wakeAfter)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for the pipeline to be at rest: %d replays are running, records left: %v", replays, lag), err)
		}
	}
}

// Backlog counts the records that a function has still to do, control records among
// them. For aggregate only Kafka's address is needed.
func Backlog(ctx context.Context, env map[string]string, function string) (int64, error) {
	if function != aggregateName {
		p, err := Open(ctx, env)
		if err != nil {
			return 0, err
		}
		at, err := p.Snapshot(ctx)
		if err := errors.Join(err, p.Close()); err != nil {
			return 0, err
		}
		return at.Lag[function], nil
	}
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return 0, err
	}
	progress, err := aggregateStage{kafka: cfg}.Look(ctx)
	if err != nil {
		return 0, err
	}
	ends, err := kafka.Ends(ctx, cfg, event.TopicBaseRepos)
	if err != nil {
		return 0, err
	}
	starts, err := kafka.Starts(ctx, cfg, event.TopicBaseRepos)
	if err != nil {
		return 0, err
	}
	return progress.behind(starts, ends), nil
}
