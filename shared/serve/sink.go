package serve

import (
	"context"
	"errors"
	"maps"
	"runtime/debug"
	"slices"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Sink is the configuration that every function needs that stores what it drains. It
// is embedded in a function's own.
type Sink struct {
	Pipeline
	// Share is the part of the partitions that this process in bulk mode drains. The
	// function itself drains them all.
	Share kafka.Share `env:"SHARE"`
}

// NewSink opens the drain of a sink, named as in dead letters and logs, which has yet
// to be started. stores returns a store for each topic. closers release what the
// stores use, and are run in order: by Close, or at once if NewSink fails.
func NewSink(name string, cfg Sink, bounds kafka.Bounds, stores func(*event.Codec, *kafka.DeadLetters) map[string]kafka.Store, closers ...func() error) (*Draining, error) {
	codec, err := event.NewCodec(cfg.Registry)
	if err != nil {
		return nil, errors.Join(err, runAll(closers))
	}
	letters, err := kafka.NewDeadLetters(cfg.Kafka, name)
	if err != nil {
		return nil, errors.Join(err, runAll(closers))
	}
	closers = append(closers, func() error { letters.Close(); return nil })
	byTopic := stores(codec, letters)
	drain, err := kafka.NewStoreDrain(name, cfg.Kafka, bounds, cfg.Share, byTopic)
	if err != nil {
		return nil, errors.Join(err, runAll(closers))
	}
	return &Draining{Drain: drain, Accept: codec.Accept, Topics: slices.Sorted(maps.Keys(byTopic)), Closers: closers}, nil
}

func runAll(closers []func() error) error {
	var errs []error
	for _, c := range closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Memory is what a process in bulk mode may use: garbage in percent of the live heap
// (GOGC), and, unless it is 0, all of its memory in bytes (GOMEMLIMIT).
type Memory struct {
	Garbage int
	Limit   int64
}

// Set sets the limits, and returns what restores those before.
func (m Memory) Set() (restore func()) {
	garbage := debug.SetGCPercent(m.Garbage)
	limit := debug.SetMemoryLimit(-1)
	if m.Limit > 0 {
		debug.SetMemoryLimit(m.Limit)
	}
	return func() {
		debug.SetGCPercent(garbage)
		debug.SetMemoryLimit(limit)
	}
}

// DrainAll is bulk mode: it makes what is in the topics now durable, within the
// limits of memory, and closes. It may be stopped at any point, and is safe to repeat.
func (d *Draining) DrainAll(ctx context.Context, m Memory, measure Measure) error {
	defer m.Set()()
	if measure != nil {
		measure(d.Drain.Metrics()...)
	}
	err := d.Drain.DrainAll(ctx)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, d.Close(ending))
}
