// Package sinkiceberg stores observations, processed observations, events of feeds,
// signals and ledger lines in Iceberg, the cold store, each exactly once and for ever.
package sinkiceberg

import (
	"context"
	"sync"
	"time"

	"github.com/apache/iceberg-go/catalog"
	"knative.dev/pkg/apis"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// The tables.
const (
	TableBase      = "base_repos"
	TableProcessed = "processed_repos"
	TableSweeps    = "sweeps"
	TableEvents    = "events"
	TableFeedReads = "feed_reads"
	TableSignals   = "signals"
)

// Config is the function's configuration, read from the environment.
type Config struct {
	serve.Sink
	Location Location
	// Interval is how long records wait for their commit, unless Block of them
	// are there before, or none has come for Quiet: then a sweep has ended. Each
	// commit is a snapshot: more than about one a minute only where somebody
	// waits for it.
	Interval time.Duration `env:"SINK_ICEBERG_INTERVAL" envDefault:"60s"`
	Quiet    time.Duration `env:"SINK_ICEBERG_QUIET" envDefault:"15s"`
	Block    int           `env:"SINK_ICEBERG_BLOCK_RECORDS" envDefault:"100000"`
	Keep     Keep
}

// Validate says all that is wrong with the configuration.
func (c Config) Validate(ctx context.Context) (errs *apis.FieldError) {
	return errs.Also(
		c.Sink.Validate(ctx),
		c.Location.Validate(),
		serve.InRange("SINK_ICEBERG_INTERVAL", c.Interval, 0, 10*time.Minute),
		serve.InRange("SINK_ICEBERG_QUIET", c.Quiet, 1, 10*time.Minute),
		serve.InRange("SINK_ICEBERG_BLOCK_RECORDS", c.Block, 1, 1_000_000),
		c.Keep.Validate(),
	)
}

// blockBytes bounds a block by weight.
const blockBytes = 128 << 20

// Bulk mode waits for full blocks, but not for records that do not come. Three blocks
// are in memory at once: gathered, prepared, being stored. Rows of unusual size take
// more memory, and then more time to collect garbage.
const (
	bulkGarbage = 200
	bulkMemory  = 380 << 20
	bulkBlock   = 30_000
	bulkAge     = time.Minute
	bulkQuiet   = 500 * time.Millisecond
)

// New returns the function for func-go and the local runner. Any event may be
// sent to it any number of times: what has been stored is known by the offsets
// that were committed together with the rows.
func New() *serve.Instance { return serve.New(stage, open) }

func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	cfg.Share = kafka.Share{}
	d, err := newDraining(cfg, kafka.Bounds{Records: cfg.Block, Bytes: blockBytes, Age: cfg.Interval, Quiet: cfg.Quiet})
	if err != nil {
		return nil, err
	}
	d.Drain.Start()
	return d, nil
}

// Drain is bulk mode: it stores what is in its share of the topics when it begins.
// Several processes may each have a share, and the function may run at the same time:
// of two that store the same records one fails and goes on after them. It may be
// stopped at any point, and is safe to repeat.
func Drain(ctx context.Context, environ map[string]string, measure serve.Measure) error {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return err
	}
	d, err := newDraining(cfg, kafka.Bounds{Records: min(cfg.Block, bulkBlock), Bytes: blockBytes, Age: bulkAge, Quiet: bulkQuiet})
	if err != nil {
		return err
	}
	return d.DrainAll(ctx, serve.Memory{Garbage: bulkGarbage, Limit: bulkMemory}, measure)
}

// newDraining returns the drain that the function and bulk mode share.
func newDraining(cfg Config, bounds kafka.Bounds) (*serve.Draining, error) {
	cold := &lazyCatalog{at: cfg.Location}
	d, err := serve.NewSink(stage, cfg.Sink, bounds, func(codec *event.Codec, letters *kafka.DeadLetters) map[string]kafka.Store {
		return map[string]kafka.Store{
			event.TopicBaseRepos:      base(cold, letters, codec),
			event.TopicProcessedRepos: processed(cold, letters, codec),
			event.TopicSweeps:         sweeps(cold, letters, codec),
			event.TopicEvents:         events(cold, letters, codec),
			event.TopicFeedReads:      feedReads(cold, letters, codec),
			event.TopicSignals:        signals(cold, letters, codec),
		}
	}, cold.close)
	if err != nil {
		return nil, err
	}
	d.Tasks = map[string]func(context.Context) error{"maintain": func(ctx context.Context) error { return cold.maintenance(ctx, cfg.Keep) }}
	return d, nil
}

func base(s *lazyCatalog, letters *kafka.DeadLetters, codec *event.Codec) kafka.Store {
	cols := observationColumns(func(o *event.RepoObserved) *repo.Observation { return o })
	return &tableStore[event.RepoObserved]{
		catalog: s.open, letters: letters, decoder: kafka.NewDecoder(codec.ObservedInto), columns: cols,
		layout:  layout{TableBase, schemaOf(cols), "observed_at"},
		day:     func(o *event.RepoObserved) time.Time { return o.ObservedAt },
		newRows: observationIdentity((*event.RepoObserved).Key).newRows,
	}
}

func processed(s *lazyCatalog, letters *kafka.DeadLetters, codec *event.Codec) kafka.Store {
	cols := processedColumns()
	return &tableStore[event.RepoProcessed]{
		catalog: s.open, letters: letters, decoder: kafka.NewDecoder(codec.ProcessedInto), columns: cols,
		layout:  layout{TableProcessed, schemaOf(cols), "processed_at"},
		day:     func(p *event.RepoProcessed) time.Time { return p.ProcessedAt },
		newRows: observationIdentity(func(p *event.RepoProcessed) repo.Key { return p.Key() }).newRows,
	}
}

func sweeps(s *lazyCatalog, letters *kafka.DeadLetters, codec *event.Codec) kafka.Store {
	cols := sweepColumns()
	return &tableStore[event.OwnerSwept]{
		catalog: s.open, letters: letters, decoder: kafka.NewDecoder(codec.SweptInto), columns: cols,
		layout: layout{TableSweeps, schemaOf(cols), ""},
		day:    func(l *event.OwnerSwept) time.Time { return l.FinishedAt },
	}
}

func events(s *lazyCatalog, letters *kafka.DeadLetters, codec *event.Codec) kafka.Store {
	cols := eventColumns()
	return &tableStore[event.GitHubEvent]{
		catalog: s.open, letters: letters, decoder: kafka.NewDecoder(codec.GitHubEventInto), columns: cols,
		layout:  layout{TableEvents, schemaOf(cols), "created_at"},
		day:     func(e *event.GitHubEvent) time.Time { return e.CreatedAt },
		newRows: eventIdentity().newRows,
	}
}

func feedReads(s *lazyCatalog, letters *kafka.DeadLetters, codec *event.Codec) kafka.Store {
	cols := feedReadColumns()
	return &tableStore[event.FeedRead]{
		catalog: s.open, letters: letters, decoder: kafka.NewDecoder(codec.FeedReadInto), columns: cols,
		layout: layout{TableFeedReads, schemaOf(cols), ""},
		day:    func(l *event.FeedRead) time.Time { return l.ReadAt },
	}
}

func signals(s *lazyCatalog, letters *kafka.DeadLetters, codec *event.Codec) kafka.Store {
	cols := signalColumns()
	return &tableStore[event.Signal]{
		catalog: s.open, letters: letters, decoder: kafka.NewDecoder(codec.SignalInto), columns: cols,
		layout:  layout{TableSignals, schemaOf(cols), ""},
		day:     func(s *event.Signal) time.Time { return s.ObservedAt },
		newRows: signalIdentity().newRows,
	}
}

// lazyCatalog opens the catalog when it is first needed: a catalog that is down must
// not keep the function from starting.
type lazyCatalog struct {
	at Location

	mu      sync.Mutex
	catalog catalog.Catalog
	closer  func() error
}

func (s *lazyCatalog) open(ctx context.Context) (catalog.Catalog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.catalog != nil {
		return s.catalog, nil
	}
	c, closer, err := Open(ctx, s.at)
	if err != nil {
		return nil, err
	}
	s.catalog, s.closer = c, closer
	return c, nil
}

func (s *lazyCatalog) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closer == nil {
		return nil
	}
	return s.closer()
}
