package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Transform computes what a block of records leads to. It has no effect of its
// own: what it produces, from any goroutine, a bell for those who read that, and
// the block's offsets are committed in one Kafka transaction. settle runs once that transaction is
// committed, and may be lost in a crash before it is done: the next Transform
// must notice and make up for it.
type Transform func(ctx context.Context, b Block, produce func(*kgo.Record)) (settle func(context.Context) error, err error)

// Group is the consumer group that a transacting drain is a member of.
type Group struct {
	Name string
	// Member is this process's fixed place in the group and in the
	// transactions: a successor with the same name takes over at once, and
	// fences the predecessor. Empty for a place of its own, as several
	// processes that share the work need: it is given back when the process
	// ends, and after a crash with the session timeout of 10 s.
	Member string
}

// errFenced: another process has taken this one's place. To go on at once
// would fence that one in turn.
var errFenced = errors.New("another process has taken over")

// NewTransactDrain drains a topic through a Transform in Kafka transactions.
func NewTransactDrain(name string, cfg Config, bounds Bounds, topic string, group Group, t Transform) (*Drain, error) {
	s := &transacting{cfg: cfg, bounds: bounds, topic: topic, group: group, transform: t}
	return newDrain(name, cfg, []string{topic}, s.live)
}

// transacting is the loop that drains in transactions.
type transacting struct {
	cfg       Config
	bounds    Bounds
	topic     string
	group     Group
	transform Transform
}

func (t *transacting) live(ctx context.Context, durable func(Offsets)) error {
	opts := append(t.cfg.Options(), producing()...)
	if t.group.Member != "" {
		opts = append(opts, kgo.InstanceID(t.group.Member), kgo.TransactionalID(t.group.Name+"-"+t.group.Member))
	} else {
		opts = append(opts, kgo.TransactionalID(t.group.Name+"-"+rand.Text()))
	}
	session, err := kgo.NewGroupTransactSession(append(opts,
		kgo.ConsumerGroup(t.group.Name),
		kgo.TransactionTimeout(30*time.Second),
		kgo.ConsumeTopics(t.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.SessionTimeout(10*time.Second),
		kgo.RebalanceTimeout(10*time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxBytes(4<<20), // unpacked, with its records' headers, it takes eight times as much
		kgo.FetchMaxPartitionBytes(1<<20),
	)...)
	if err != nil {
		return fmt.Errorf("kafka transactions: %w", err)
	}
	defer session.Close()

	// A bell for what was done before this life is answered at once.
	asking, cancel := context.WithTimeout(ctx, 15*time.Second)
	done, err := committedBy(asking, kadm.NewClient(session.Client()), t.group.Name, t.topic)
	cancel()
	if err != nil {
		return err
	}
	durable(done)
	gather := newGatherer(session.Client(), t.bounds)
	for {
		blocks, err := gather.next(ctx)
		if err != nil {
			return fenced(err)
		}
		working, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		err = t.transact(working, session, blocks[t.topic], durable)
		cancel()
		if err != nil {
			return fenced(err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// transact turns one block into one transaction. A block that was not committed
// because the group was rebalanced is fetched again by whoever owns it now.
func (t *transacting) transact(ctx context.Context, session *kgo.GroupTransactSession, b *Block, durable func(Offsets)) error {
	if err := session.Begin(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	var failed kgo.FirstErrPromise
	var written sync.Map // the topics of the output
	settle, err := t.transform(ctx, *b, func(r *kgo.Record) {
		written.Store(r.Topic, nil)
		session.Produce(ctx, r, failed.Promise())
	})
	if err != nil {
		err = fmt.Errorf("process a block of %s: %w", t.topic, err)
	}
	// A bell a block, in its transaction: it is heard if and only if the block is
	// there.
	written.Range(func(topic, _ any) bool {
		if bell := event.NewBell(topic.(string)); bell != nil {
			session.Produce(ctx, bell, failed.Promise())
		}
		return true
	})
	if err := errors.Join(err, failed.Err()); err != nil {
		_, aborted := session.End(context.WithoutCancel(ctx), kgo.TryAbort)
		return errors.Join(err, aborted)
	}
	committed, err := session.End(ctx, kgo.TryCommit)
	if err != nil {
		return fmt.Errorf("commit a block of %s: %w", t.topic, err)
	}
	if !committed {
		return nil
	}
	durable(b.Next)
	if err := settle(ctx); err != nil {
		return fmt.Errorf("settle a block of %s: %w", t.topic, err)
	}
	return nil
}

func fenced(err error) error {
	for _, e := range []error{kerr.FencedInstanceID, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.UnknownMemberID} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", errFenced, err)
		}
	}
	return err
}
