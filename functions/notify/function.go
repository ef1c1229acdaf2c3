// Package notify is the function that sends signals to people: to Slack, Teams, Discord,
// webhooks and mail, by the rules of signals.yaml.
//
// What is read of github.signals and what is to be sent of it become durable in Redis in
// one step, in the outbox. From there each message is sent until its target accepts it.
package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/notify/target"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// stage is the function's name in dead letters and logs.
const stage = "notify"

// Signals are few, so blocks are small.
const (
	blockRecords = 500
	blockBytes   = 8 << 20
)

// New returns the function for func-go and the local runner. Any event may be sent to it
// any number of times: an event only wakes it.
func New() *serve.Instance { return serve.New(stage, open) }

func open(ctx context.Context, environ map[string]string) (serve.Function, error) {
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	rules, err := ReadRules(string(cfg.Rules), cfg.File)
	if err != nil {
		return nil, err
	}
	if len(rules.Targets) == 0 {
		return off{}, nil
	}
	cfg.Share = kafka.Share{}
	return newFunction(cfg, rules, http.DefaultTransport)
}

// off is the function without rules: it reads and sends nothing, and is at no offset.
type off struct{}

// Receive takes bells and ticks, and does nothing. A signal posted by hand is refused:
// nothing would become of it.
func (off) Receive(_ context.Context, e cloudevents.Event) error {
	if _, bell := serve.BellTopic(e); bell || e.Type() == event.TypeTick {
		return nil
	}
	return event.Invalid("notify has no rules: it takes no events")
}

// Status says that nothing is sent.
func (off) Status() serve.Status { return serve.Status{Detail: "no rules: nothing is sent"} }

// Close does nothing.
func (off) Close(context.Context) error { return nil }

type function struct {
	*serve.Draining
	rules    *Rules
	targets  map[string]target.Target
	outbox   *outbox
	rdb      redis.UniversalClient
	codec    *event.Codec
	producer *kgo.Client // of dead letters
	now      func() time.Time
	sending  chan struct{} // held by the handler that sends

	handlers *serve.Handlers

	mu      sync.Mutex
	failing error // of the last delivery
}

func newFunction(cfg Config, rules *Rules, transport http.RoundTripper) (*function, error) {
	f := &function{rules: rules, handlers: serve.NewHandlers(stage), targets: map[string]target.Target{}, now: time.Now, sending: make(chan struct{}, 1)}
	for name, t := range rules.Targets {
		to, err := target.Open(t.Config, transport)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", name, err)
		}
		f.targets[name] = to
	}
	var err error
	if f.rdb, err = redisclient.New(cfg.Redis); err != nil {
		return nil, fmt.Errorf("invalid REDIS_URL: %w", err)
	}
	f.outbox = &outbox{f.rdb}
	if f.producer, err = kafka.NewProducer(cfg.Kafka); err != nil {
		return nil, errors.Join(err, f.rdb.Close())
	}
	bounds := kafka.Bounds{Records: blockRecords, Bytes: blockBytes}
	f.Draining, err = serve.NewSink(stage, cfg.Sink, bounds, func(codec *event.Codec, letters *kafka.DeadLetters) map[string]kafka.Store {
		f.codec = codec
		return map[string]kafka.Store{event.TopicSignals: &intake{function: f, decoder: kafka.NewDecoder(codec.SignalInto), letters: letters}}
	}, f.rdb.Close, func() error { f.producer.Close(); return nil })
	if err != nil {
		return nil, err
	}
	f.Drain.Start()
	return f, nil
}

// Receive answers a bell, a wake, or a signal posted by hand: it takes the signals up to
// the present end of the topic into the outbox, and sends what is due.
//
// It is safe to send it any event any number of times, and at the same time: the outbox
// takes each message in once, and one handler of all replicas sends at a time.
//
// nil means that nothing is due any more, or that what is due waits for its target: the
// next wake goes on. While more is due it fails with kafka.ErrBehind, to be sent the
// event again.
func (f *function) Receive(ctx context.Context, e cloudevents.Event) error {
	end, err := f.handlers.Begin()
	if err != nil {
		return err
	}
	defer end()
	began := time.Now()
	if err := f.Draining.Receive(ctx, e); err != nil {
		return err
	}
	err = f.deliver(ctx, began)
	f.mu.Lock()
	f.failing = err
	f.mu.Unlock()
	return err
}

// Status says how far the signals are read, and the last error of a delivery.
func (f *function) Status() serve.Status {
	s := f.Draining.Status()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failing != nil && s.Failing == "" && !errors.Is(f.failing, kafka.ErrBehind) {
		s.Failing = f.failing.Error()
	}
	return s
}

// Close waits for the handlers, whose requests the host ends, then closes the
// connections.
func (f *function) Close(ctx context.Context) error {
	return errors.Join(f.handlers.Stop(ctx), f.Draining.Close(ctx))
}
