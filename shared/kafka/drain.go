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

// Block is what a drain processes as one unit: records, in order within each
// partition, and the next offsets once they are durable. Next may be beyond the
// last record, past control records.
type Block struct {
	Records []*kgo.Record
	First   Offsets // where each partition of the block begins
	Next    Offsets
	More    bool // another block is sure to follow: the log has more records
}

// Bounds limit a block. It is processed when it is full, when it is Age old, when
// nothing more has come for Quiet, or, with Age 0, as soon as a fetch returns
// nothing. A block that takes longer than Limit fails, and is tried again smaller.
type Bounds struct {
	Records int
	Bytes   int
	Age     time.Duration
	Quiet   time.Duration // 0: as long as Age
	Limit   time.Duration // 0: 20 s
}

// blockLimit is how long a block may take unless its bounds say otherwise: less than
// a transaction may stay open, and less than Knative gives a request.
const blockLimit = 20 * time.Second

func (b Bounds) limit() time.Duration { return cmp.Or(b.Limit, blockLimit) }

// ErrFatal marks an error that only a person can fix: the drain stops and reports it
// instead of trying again.
var ErrFatal = errors.New("stopped")

// ErrBehind answers a bell when the drain is making progress but has not got there
// within the time a request may take. The bell has to be sent again, so that a pod is
// kept until the work is done, whether or not another bell comes.
var ErrBehind = errors.New("still draining: ring again")

// coverWait is how long a bell or a wake waits to be covered. Knative keeps the pod
// as long as a request is in flight, and cuts a handler off at 30 s.
const coverWait = 15 * time.Second

// Pauses between a session that failed and the next.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	openPause  = 500 * time.Millisecond // between two checks whether the breaker is still open
	idlePause  = time.Second            // between two checks whether a session after a failed one has nothing to do
	takenPause = 5 * time.Second        // between two checks whether another process still has this one's member name
)

// session is one run of a drain's loop, from the last durable offsets on until
// the drain stops or something fails.
type session struct {
	reading context.Context // ends when the drain stops: no new block is begun
	working context.Context // ends when there is no time left for the current block
	size    *blockSize
	durable func(Offsets) // is called with the offsets that have become durable
	started func()        // is called once the loop can read
	// unassigned receives when a bell has come for a partition that is not drained.
	unassigned <-chan struct{}
}

// Drain reads topics from the offsets of its last durable step and makes block
// after block durable, in order within each partition. Events only wake it: a
// lost, repeated or reordered bell changes nothing.
type Drain struct {
	Name string // for the log

	client  *kgo.Client // for bells, posted records and admin requests; the loop has its own
	admin   *kadm.Client
	topics  []string // that are drained
	outputs []string // that are written to, besides dead letters
	share   Share
	loop    func(session) error
	taken   func(context.Context) bool // whether another process has this one's member name; nil: names are not shared
	size    *blockSize
	blocks  *blockMetrics

	breaker     *breaker
	covered     *coverage
	heard       *coverage          // the newest bells, by partition: see DrainToEnd
	answered    *coverage          // the newest bells whose records are durable; at most heard
	retryNow    chan struct{}      // ends a pause early
	unassigned  chan struct{}      // as in session
	stop        context.CancelFunc // ends reading
	cancelBlock context.CancelFunc // ends the current block too
	stopped     <-chan struct{}    // closed once the drain begins to stop
	done        chan struct{}      // closed once it has ended

	mu      sync.Mutex
	failure error         // of the last session; nil once one has made progress
	pause   time.Duration // before the next session, should this one fail
}

func newDrain(name string, cfg Config, topics []string, bounds Bounds) (*Drain, error) {
	client, err := NewProducer(cfg)
	if err != nil {
		return nil, err
	}
	return &Drain{
		Name: name, client: client, admin: kadm.NewClient(client), topics: topics, size: newBlockSize(bounds.Records), blocks: newBlockMetrics(), pause: firstPause,
		breaker: newBreaker(name), covered: newCoverage(), heard: newCoverage(), answered: newCoverage(), retryNow: make(chan struct{}, 1), unassigned: make(chan struct{}, 1), done: make(chan struct{}),
	}, nil
}

// Start starts the drain and returns at once. Stop ends it.
func (d *Drain) Start() {
	working, cancelBlock := context.WithCancel(context.Background())
	reading, stop := context.WithCancel(working)
	d.stop, d.cancelBlock, d.stopped = stop, cancelBlock, reading.Done()
	go d.run(reading, working)
}

// stopReserve is the part of the time to stop that is kept for cancelling the
// current block.
const stopReserve = 700 * time.Millisecond

// Stop ends the drain after the current block. If that is not done 0.7 s before the
// deadline of ctx, or after a third of the time where there is less, the block is
// cancelled. Nothing is lost: its offsets become durable only together with it. An
// error means that the drain is still running.
func (d *Drain) Stop(ctx context.Context) error {
	defer d.client.Close()
	if d.stop == nil { // it was never started
		return nil
	}
	defer d.cancelBlock()
	d.stop()
	finishing := ctx
	if deadline, ok := ctx.Deadline(); ok {
		reserve := min(stopReserve, time.Until(deadline)*2/3)
		var cancel context.CancelFunc
		finishing, cancel = context.WithDeadline(ctx, deadline.Add(-reserve))
		defer cancel()
	}
	select {
	case <-d.done:
		return nil
	case <-finishing.Done():
	}
	d.cancelBlock()
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
		if errors.Is(err, errPartitionsAdded) {
			slog.Info("session ended: partitions were added", "drain", d.Name)
			continue
		}
		if errors.Is(err, ErrOpen) { // the error that opened it has been logged
			select {
			case <-reading.Done():
				return
			case <-time.After(openPause):
			}
			continue
		}
		pause := d.failed(err)
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

// rest waits before the session that follows a failed one: for a pause and, if the
// session was fenced, until no other process has its member name. An event ends the
// wait early. It reports whether there is to be another session.
func (d *Drain) rest(ctx context.Context, pause time.Duration, wasFenced bool) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-d.retryNow:
			return true
		case <-time.After(pause):
		}
		if !wasFenced || d.taken == nil || !d.taken(ctx) {
			return ctx.Err() == nil
		}
		pause = takenPause
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
		reading: reading, working: working, size: d.size, unassigned: d.unassigned,
		durable: func(next Offsets) {
			if d.covered.advance(next) {
				d.succeeded()
			}
		},
		started: sync.OnceFunc(func() {
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

// checkTopics refuses topics that accept smaller batches than our producers write:
// they would reject valid records. If the configuration cannot be read, the topics
// pass.
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
				return fmt.Errorf("%w: topic %s accepts batches of at most %d bytes: set its max.message.bytes to %d or more", ErrFatal, topic.Name, most, event.MaxBatch)
			}
		}
	}
	return nil
}

// awaitIdle clears the failure once a session turns out to have nothing to do: where
// no record comes, none becomes durable.
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
			d.succeeded()
			return
		}
	}
}

// succeeded records that a session has made progress.
func (d *Drain) succeeded() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure, d.pause = nil, firstPause
}

// failed records what a session failed with, and returns the pause before the next.
func (d *Drain) failed(err error) (pause time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pause = d.pause
	d.failure, d.pause = err, min(2*d.pause, lastPause)
	return pause
}

// Err returns what the drain's last session failed with, or nil if one has made
// progress since.
func (d *Drain) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failure
}

// Breaker returns the state of the circuit breaker before the drain's store: closed,
// half-open or open. That of a transacting drain never opens.
func (d *Drain) Breaker() string { return d.breaker.state() }

// Covered returns how far the drain has made its topics durable since it started.
func (d *Drain) Covered() Offsets { return d.covered.snapshot() }

// Cover waits until the record at an offset is durable, at most 15 s. After that it
// returns ErrBehind if the drain is making progress, and else the drain's last error.
func (d *Drain) Cover(ctx context.Context, p Partition, offset int64) error {
	return d.waitCovered(ctx, Offsets{p: offset + 1})
}

// Wake waits until what is in the topics now is durable, at most 15 s. That more is
// left then is no error, since the next wake comes by itself; that the drain is
// failing is one.
func (d *Drain) Wake(ctx context.Context) error {
	ends, err := d.ends(ctx)
	if err != nil {
		return err
	}
	return unlessBehind(d.waitCovered(ctx, ends))
}

// unlessBehind drops ErrBehind, for a caller that need not be sent again.
func unlessBehind(err error) error {
	if errors.Is(err, ErrBehind) {
		return nil
	}
	return err
}

// ends are those of the partitions in this drain's share that hold records.
func (d *Drain) ends(ctx context.Context) (Offsets, error) {
	ends, err := remainingOf(ctx, d.admin, d.topics...)
	maps.DeleteFunc(ends, func(p Partition, _ int64) bool { return !d.share.has(p.Number) })
	return ends, err
}

func (d *Drain) waitCovered(ctx context.Context, target Offsets) error {
	ctx, cancel := context.WithTimeout(ctx, coverWait)
	defer cancel()
	if done, _ := d.covered.covers(target); !done && d.Err() != nil {
		if err := d.breaker.refuse(); err != nil {
			return fmt.Errorf("drain of %s: %w: %w", d.Name, err, d.Err())
		}
		select {
		case d.retryNow <- struct{}{}:
		default:
		}
	}
	if !d.covered.knows(target) {
		select {
		case d.unassigned <- struct{}{}:
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
		case <-time.After(time.Second): // the drain may have stopped with a fatal error
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

// answer is what a bell gets when the wait for it is over.
func (d *Drain) answer() error {
	err := d.Err()
	if err == nil {
		err = ErrBehind
	}
	return fmt.Errorf("drain of %s: %w", d.Name, err)
}

// Publish writes a record that was posted by hand to the topic that this drain reads,
// and waits for it as for a bell: there is one path to the store. That it is not
// stored after 15 s is no error: the record is durable in Kafka.
func (d *Drain) Publish(ctx context.Context, r *kgo.Record) error {
	if err := d.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("produce to %s: %w", r.Topic, err)
	}
	RingBell(ctx, d.client, r.Topic) // others read it too
	return unlessBehind(d.Cover(ctx, Partition{r.Topic, r.Partition}, r.Offset))
}
