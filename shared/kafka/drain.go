package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
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
// nothing more to read at once. One that is not done within Limit fails, and is
// tried again smaller.
type Bounds struct {
	Records int
	Bytes   int
	Age     time.Duration
	Quiet   time.Duration // 0: as long as Age
	Limit   time.Duration // 0: 20 s
}

// blockLimit is how long a block may take where its bounds do not say: less than
// a transaction may stay open, and less than Knative gives a request.
const blockLimit = 20 * time.Second

func (b Bounds) limit() time.Duration { return cmp.Or(b.Limit, blockLimit) }

// ErrFatal marks an error that only a person can mend: the drain stops and says
// so instead of trying again.
var ErrFatal = errors.New("stopped")

// ErrBehind answers a bell that was waited for as long as a request may last: the
// drain is at work, and more is left. The bell is to ring again, so that the work
// goes on whether or not another one comes.
var ErrBehind = errors.New("at work, and more is left: ring again")

// How long a bell or a wake waits to be covered. Knative keeps the pod as long
// as a request is in flight, and cuts a handler off at 30 s.
const coverWait = 15 * time.Second

// Pauses between a session that failed and the next.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	openPause  = 500 * time.Millisecond // to look whether the breaker still is open
	idlePause  = time.Second            // to look whether a session that follows a failed one has nothing to do
	placePause = 5 * time.Second        // to look whether the process that took this one's place still has it
)

// session is one run of a drain's loop, from the last durable offsets on until
// the drain stops or something fails.
type session struct {
	reading context.Context // ends when the drain stops: no block is begun any more
	working context.Context // ends when there is no time left for the block in hand
	size    *blockSize
	durable func(Offsets) // is called with what has become durable
	begun   func()        // is called once everything is there that the loop needs to begin
}

// Drain reads topics from the offsets of its last durable step and makes block
// after block durable, in order within each partition. Events only wake it: a
// lost, repeated or reordered bell changes nothing.
type Drain struct {
	Name string // for the log

	client  *kgo.Client // for asking and producing, not for the loop
	admin   *kadm.Client
	topics  []string // that are drained
	outputs []string // that are written to, besides dead letters
	share   Share
	loop    func(session) error
	taken   func(context.Context) bool // says whether another process has this one's place; nil: nobody can
	size    *blockSize

	breaker *breaker
	covered *coverage
	heard   *coverage          // of the topics of bells: see Heed
	heeded  *coverage          // of the topics of bells, and at most heard
	nudge   chan struct{}      // ends a pause early
	unknown chan struct{}      // a bell has come of a partition that is not drained
	stop    context.CancelFunc // ends reading
	abandon context.CancelFunc // ends the block in hand too
	stopped <-chan struct{}    // closed once the drain begins to stop
	done    chan struct{}      // closed once it has ended

	mu      sync.Mutex
	failure error         // of the last session; nil while one goes well
	pause   time.Duration // before the next session, should this one fail
}

func newDrain(name string, cfg Config, topics []string, bounds Bounds) (*Drain, error) {
	client, err := NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &Drain{
		Name: name, client: client, admin: kadm.NewClient(client), topics: topics, size: newBlockSize(bounds.Records), pause: firstPause,
		breaker: newBreaker(name), covered: newCoverage(), heard: newCoverage(), heeded: newCoverage(), nudge: make(chan struct{}, 1), unknown: make(chan struct{}, 1), done: make(chan struct{}),
	}, nil
}

// Start begins to drain and returns at once.
func (d *Drain) Start() {
	working, abandon := context.WithCancel(context.Background())
	reading, stop := context.WithCancel(working)
	d.stop, d.abandon, d.stopped = stop, abandon, reading.Done()
	go d.run(reading, working)
}

// stopReserve is the part of the time to stop that is left to give up the block
// in hand.
const stopReserve = 700 * time.Millisecond

// Stop ends the drain after the block in hand. When ctx leaves no time for that,
// the block is given up 0.7 s before that, or after a third of it: it is not lost, for its
// offsets become durable with it. An error says that the drain is still at work.
func (d *Drain) Stop(ctx context.Context) error {
	defer d.client.Close()
	if d.stop == nil { // it was never started
		return nil
	}
	defer d.abandon()
	d.stop()
	patience := ctx
	if deadline, ok := ctx.Deadline(); ok {
		reserve := min(stopReserve, time.Until(deadline)*2/3)
		var cancel context.CancelFunc
		patience, cancel = context.WithDeadline(ctx, deadline.Add(-reserve))
		defer cancel()
	}
	select {
	case <-d.done:
		return nil
	case <-patience.Done():
	}
	d.abandon()
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the drain of %s: %w", d.Name, ctx.Err())
	}
}

func (d *Drain) run(reading, working context.Context) {
	defer close(d.done)
	for {
		err := d.session(reading, working)
		if reading.Err() != nil {
			return
		}
		if errors.Is(err, errWidened) {
			slog.Info("drain begins anew", "drain", d.Name, "reason", err)
			continue
		}
		if errors.Is(err, ErrOpen) { // why it opened is known, and said
			select {
			case <-reading.Done():
				return
			case <-time.After(openPause):
			}
			continue
		}
		pause := d.fail(err)
		if errors.Is(err, ErrFatal) {
			slog.Error("drain stopped", "drain", d.Name, "error", err)
			return
		}
		most, _ := d.size.limit()
		slog.Warn("drain failed, trying again", "drain", d.Name, "error", err, "pause", pause, "block", most)
		if !d.rest(reading, pause, errors.Is(err, errFenced)) {
			return
		}
	}
}

// rest waits before the session that follows one that failed: for a pause, and one
// that was fenced until its place is free. An event ends it early. It says whether
// there is to be another session.
func (d *Drain) rest(ctx context.Context, pause time.Duration, wasFenced bool) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-d.nudge:
			return true
		case <-time.After(pause):
		}
		if !wasFenced || d.taken == nil || !d.taken(ctx) {
			return ctx.Err() == nil
		}
		pause = placePause
	}
}

// session runs the loop once.
func (d *Drain) session(reading, working context.Context) error {
	alive, end := context.WithCancel(reading)
	defer end()
	var idle sync.WaitGroup
	defer idle.Wait()
	defer end()
	if err := d.checkTopics(reading); err != nil {
		return err
	}
	err := d.loop(session{
		reading: reading, working: working, size: d.size,
		durable: func(next Offsets) {
			if d.covered.advance(next) {
				d.well()
			}
		},
		begun: sync.OnceFunc(func() {
			if d.Err() != nil {
				idle.Go(func() { d.awaitIdle(alive) })
			}
		}),
	})
	if classOf(err) == fatal {
		return fmt.Errorf("%w: %w", ErrFatal, err)
	}
	return err
}

// checkTopics refuses topics that take smaller batches than our producers write:
// valid records would be lost on the way. A broker that does not say what a topic
// takes is not waited for.
func (d *Drain) checkTopics(ctx context.Context) error {
	topics := slices.Concat(d.topics, d.outputs)
	for _, topic := range d.topics {
		topics = append(topics, event.DeadLetterTopic(topic))
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	configs, err := d.admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil
	}
	for _, topic := range configs {
		for _, c := range topic.Configs {
			if c.Key != "max.message.bytes" {
				continue
			}
			if most, err := strconv.Atoi(c.MaybeValue()); err == nil && most < event.MaxBatch {
				return fmt.Errorf("%w: topic %s takes batches of %d bytes only: set its max.message.bytes to %d or more", ErrFatal, topic.Name, most, event.MaxBatch)
			}
		}
	}
	return nil
}

// awaitIdle notes that a session goes well that has nothing to do: where no
// record comes, none becomes durable.
func (d *Drain) awaitIdle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(idlePause):
		}
		ends, err := d.ends(ctx)
		if err != nil {
			continue
		}
		if done, _ := d.covered.covers(ends); done && ctx.Err() == nil {
			d.well()
			return
		}
	}
}

// well notes that a session goes well.
func (d *Drain) well() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure, d.pause = nil, firstPause
}

// fail notes what a session failed with, and returns the pause before the next.
func (d *Drain) fail(err error) (pause time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pause = d.pause
	d.failure, d.pause = err, min(2*d.pause, lastPause)
	return pause
}

// Err is what the drain's last session failed with, or nil while one goes well.
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

// Ring waits until the record that rang is durable, at most 15 s. Then it errs with
// ErrBehind if the drain is at work, and else with what the drain fails with.
func (d *Drain) Ring(ctx context.Context, p Partition, offset int64) error {
	return d.reach(ctx, Offsets{p: offset + 1})
}

// Wake drains up to what stands in the topics now, at most 15 s long. It errs when
// the drain is failing, not when more is left: the next wake comes by itself.
func (d *Drain) Wake(ctx context.Context) error {
	ends, err := d.ends(ctx)
	if err != nil {
		return err
	}
	return unlessBehind(d.reach(ctx, ends))
}

// unlessBehind is for a caller that need not come again while the drain is at work.
func unlessBehind(err error) error {
	if errors.Is(err, ErrBehind) {
		return nil
	}
	return err
}

// ends are those of the partitions that are this drain's to do, and hold records.
func (d *Drain) ends(ctx context.Context) (Offsets, error) {
	ends, err := remainingOf(ctx, d.admin, d.topics...)
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
		case d.unknown <- struct{}{}:
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
		case <-d.stopped:
			return d.answer()
		case <-ctx.Done():
			return d.answer()
		}
		if err := d.Err(); errors.Is(err, ErrFatal) {
			return fmt.Errorf("drain of %s: %w", d.Name, err)
		}
	}
}

// answer is what a bell gets that is not waited for any longer.
func (d *Drain) answer() error {
	err := d.Err()
	if err == nil {
		err = ErrBehind
	}
	return fmt.Errorf("drain of %s: %w", d.Name, err)
}

// Publish produces a record that was posted by hand to the topic that this
// drain reads, and waits for it as for a bell: there is no second path. That more is
// left is no error: the record is safe in Kafka.
func (d *Drain) Publish(ctx context.Context, r *kgo.Record) error {
	if err := d.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("produce to %s: %w", r.Topic, err)
	}
	RingBell(d.client, r.Topic) // others read it too
	return unlessBehind(d.Ring(ctx, Partition{r.Topic, r.Partition}, r.Offset))
}
