package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/replay"
)

type recordCommand struct {
	Source string `arg:"" help:"A topic, up to its present end; or http://host:port to listen on until interrupted."`
	Out    string `required:"" help:"Output file: JSON Lines (.jsonl) or conformance YAML (.yaml), either with .gz; - is standard output."`
	Limit  int64  `help:"Stop after this many events; 0: no limit."`
	From   moment `help:"Only events of this time or later: 2025-03-01, or 2025-03-01T12:00:00Z."`
	Until  moment `help:"Only events before this time."`
}

// errLimitReached ends a recording that has its number of events.
var errLimitReached = errors.New("the limit is reached")

// Run records. What was answered with 204 is in the file. An event that the file
// cannot hold is named; the exit code is 1 then.
func (r *recordCommand) Run(ctx context.Context, p *place) (err error) {
	if r.Limit < 0 {
		return fmt.Errorf("--limit %d: want 0 or more", r.Limit)
	}
	out, err := replay.Create(r.Out)
	if err != nil {
		return err
	}
	listening := strings.Contains(r.Source, "://")
	span := replay.Span{From: r.From.Time, Until: r.Until.Time}
	began := time.Now()
	var refused refusedEvents
	var recorded atomic.Int64
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	sink := func(e cloudevents.Event) error {
		if r.Limit > 0 && recorded.Load() >= r.Limit {
			return errLimitReached
		}
		within, err := span.Has(e)
		if err != nil || !within {
			return err
		}
		if err := out.Write(e); err != nil {
			return err
		}
		if listening {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if recorded.Add(1) == r.Limit && listening {
			enough()
		}
		return nil
	}
	if listening {
		fmt.Fprintln(os.Stderr, "listening at", r.Source)
		err = replay.Listen(ctx, r.Source, sink, refused.add)
	} else {
		err = r.topic(ctx, p, sink, refused.add)
	}
	if errors.Is(err, errLimitReached) {
		err = nil
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s events recorded in %s\n", count(recorded.Load()), time.Since(began).Round(time.Millisecond))
	return refused.err()
}

func (r *recordCommand) topic(ctx context.Context, p *place, sink replay.Sink, refused func(error)) error {
	env, err := p.addresses()
	if err != nil {
		return err
	}
	cfg, codec, err := pipeline.KafkaOf(ctx, env)
	if err != nil {
		return err
	}
	return replay.Topic(ctx, cfg, codec, r.Source, sink, refused)
}
