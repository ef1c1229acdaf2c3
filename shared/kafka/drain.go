package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Block is what a drain hands over at once: records in the order of each
// partition, and the next offsets once they are durable. Next may be beyond the
// last record, past control records.
type Block struct {
	Records []*kgo.Record
	First   Offsets // where each partition of the block begins
	Next    Offsets
	More    bool // another block is sure to follow: the log goes on behind this one
}

// Bounds limit a block. It is handed over when it is full, when it is Age old,
// when nothing more has come for Quiet, or, with Age 0, as soon as there is
// nothing more to read at once.
type Bounds struct {
	Records int
	Bytes   int
	Age     time.Duration
	Quiet   time.Duration // 0: as long as Age
}

// ErrFatal marks an error that only a person can mend: the drain stops and says
// so instead of trying again.
var ErrFatal = errors.New("stopped")

// How long a bell or a wake waits to be covered. Knative keeps the pod as long
// as a request is in flight, and cuts a handler off at 30 s.
const coverWait = 15 * time.Second

// Pauses between two lives of a loop that failed.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	openPause  = 500 * time.Millisecond // to look whether the breaker still is open
)

// life is one run of a drain's loop, from the last durable offsets on until ctx
// ends or something fails. It reports what has become durable.
type life func(ctx context.Context, durable func(Offsets)) error

// Drain reads topics from the offsets of its last durable step and makes block
// after block durable, in order within each partition. Events only wake it: a
// lost, repeated or reordered bell changes nothing.
type Drain struct {
	Name string // for the log

	client *kgo.Client // for asking and producing, not for the loop
	admin  *kadm.Client
	topics []string
	share  Share
	live   life

	breaker *breaker
	covered *coverage
	heeded  *coverage     // of the topics of bells: see Heed
	nudge   chan struct{} // ends a pause early
	strange chan struct{} // a bell has come of a partition that is not drained
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	failure error // of the last life; nil while one goes well
}

func newDrain(name string, cfg Config, topics []string, live life) (*Drain, error) {
	client, err := NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &Drain{
		Name: name, client: client, admin: kadm.NewClient(client), topics: topics, live: live,
		breaker: newBreaker(name), covered: newCoverage(), heeded: newCoverage(), nudge: make(chan struct{}, 1), strange: make(chan struct{}, 1), done: make(chan struct{}),
	}, nil
}

// Start begins to drain and returns at once.
func (d *Drain) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go d.run(ctx)
}

// Stop ends the drain after the block in hand, or at once when ctx ends.
func (d *Drain) Stop(ctx context.Context) error {
	defer d.client.Close()
	if d.cancel == nil { // it was never started
		return nil
	}
	d.cancel()
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the drain of %s: %w", d.Name, ctx.Err())
	}
}

func (d *Drain) run(ctx context.Context) {
	defer close(d.done)
	pause := firstPause
	for {
		err := d.live(ctx, func(next Offsets) {
			if d.covered.advance(next) {
				d.fail(nil)
				pause = firstPause
			}
		})
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errWidened) {
			slog.Info("drain begins anew", "drain", d.Name, "reason", err)
			continue
		}
		if errors.Is(err, ErrOpen) { // why it opened is known, and said
			select {
			case <-ctx.Done():
				return
			case <-time.After(openPause):
			}
			continue
		}
		d.fail(err)
		if errors.Is(err, ErrFatal) {
			slog.Error("drain stopped", "drain", d.Name, "error", err)
			return
		}
		slog.Warn("drain failed, trying again", "drain", d.Name, "error", err, "pause", pause)
		after := time.After(pause)
		if errors.Is(err, errFenced) {
			after = nil // only an event may bring this process back
		}
		select {
		case <-ctx.Done():
			return
		case <-after:
		case <-d.nudge:
		}
		pause = min(2*pause, lastPause)
	}
}

func (d *Drain) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

// Err is what the drain fails of now, or nil.
func (d *Drain) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure
}

// Breaker is the state of the circuit breaker before the drain's store: closed,
// half-open or open. A drain that transacts has none that ever opens.
func (d *Drain) Breaker() string { return d.breaker.state() }

// Covered is how far the drain has made its topics durable since it started.
func (d *Drain) Covered() Offsets { return d.covered.snapshot() }

// Ring waits until the record that rang is durable, at most 15 s, and then
// answers nil all the same if the drain is at work: the record is safe in
// Kafka and will be reached. It errs when the drain is failing.
func (d *Drain) Ring(ctx context.Context, p Partition, offset int64) error {
	return d.reach(ctx, Offsets{p: offset + 1})
}

// Wake drains up to what stands in the topics now, as Ring does.
func (d *Drain) Wake(ctx context.Context) error {
	ends, err := d.ends(ctx)
	if err != nil {
		return err
	}
	return d.reach(ctx, ends)
}

// ends are those of the partitions that are this drain's to do.
func (d *Drain) ends(ctx context.Context) (Offsets, error) {
	ends, err := endsOf(ctx, d.admin, d.topics...)
	maps.DeleteFunc(ends, func(p Partition, _ int64) bool { return !d.share.has(p.Number) })
	return ends, err
}

func (d *Drain) reach(ctx context.Context, target Offsets) error {
	ctx, cancel := context.WithTimeout(ctx, coverWait)
	defer cancel()
	if done, _ := d.covered.covers(target); !done && d.Err() != nil {
		if err := d.breaker.refuse(); err != nil {
			return fmt.Errorf("drain of %s: %w: %w", d.Name, err, d.Err())
		}
		select {
		case d.nudge <- struct{}{}:
		default:
		}
	}
	if !d.covered.knows(target) {
		select {
		case d.strange <- struct{}{}:
		default:
		}
	}
	for {
		done, changed := d.covered.covers(target)
		if done {
			return nil
		}
		select {
		case <-changed:
			continue
		case <-time.After(time.Second): // look whether the drain has begun to fail
		case <-ctx.Done():
			if err := d.Err(); err != nil {
				return fmt.Errorf("drain of %s: %w", d.Name, err)
			}
			return nil
		}
		if err := d.Err(); errors.Is(err, ErrFatal) {
			return fmt.Errorf("drain of %s: %w", d.Name, err)
		}
	}
}

// Publish produces a record that was posted by hand to the topic that this
// drain reads, and waits for it as for a bell: there is no second path.
func (d *Drain) Publish(ctx context.Context, r *kgo.Record) error {
	if err := d.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("produce to %s: %w", r.Topic, err)
	}
	RingBell(d.client, r.Topic) // others read it too
	return d.Ring(ctx, Partition{r.Topic, r.Partition}, r.Offset)
}
