package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
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

// errFenced: another process may have taken this one's place. To go on without a
// look would fence that one in turn.
var errFenced = errors.New("another process has taken over, or the transaction took too long")

// NewTransactDrain drains a topic through a Transform in Kafka transactions.
// outputs are the topics that it writes to, besides dead letters; they must exist. A
// record of an output with the key of an earlier one is in the same partition, even
// if the topic was given more partitions in between.
func NewTransactDrain(name string, cfg Config, bounds Bounds, topic string, group Group, t Transform, outputs ...string) (*Drain, error) {
	s := &transacting{name: name, cfg: cfg, bounds: bounds, topic: topic, outputs: outputs, group: group, transform: t, unwritable: map[place]error{}}
	d, err := newDrain(name, cfg, []string{topic}, bounds)
	if err != nil {
		return nil, err
	}
	d.loop, d.outputs, d.taken, s.admin = s.run, outputs, s.taken, d.admin
	return d, nil
}

// transacting is the loop that drains in transactions.
type transacting struct {
	name      string
	cfg       Config
	bounds    Bounds
	topic     string
	outputs   []string
	group     Group
	transform Transform
	admin     *kadm.Client
	memberID  string // in the group, of the last session
	// unwritable are the records whose transaction failed though it had no other,
	// and why: they become dead letters when they are read again.
	unwritable map[place]error
}

// place is where a record stands in the topic.
type place struct {
	partition int32
	offset    int64
}

func (t *transacting) run(in session) error {
	err := t.drain(in)
	if t.group.Member != "" && classOf(err) == fenced { // nobody else has a name that was drawn by lot
		return fmt.Errorf("%w: %w", errFenced, err)
	}
	return err
}

// takeOver ends the transaction that a predecessor of this name has left open, if it
// can be done at once: else what it was to commit cannot be read before its timeout,
// and the offsets are not known. It comes after this process has its place in the
// group, so that a predecessor that is at work can tell that it was replaced.
func (t *transacting) takeOver(ctx context.Context, client *kgo.Client) {
	if t.group.Member == "" { // nobody had the name
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, _, _ = client.ProducerID(ctx) // an error comes again with the first transaction
}

// taken says whether another process has this one's place in the group: the broker
// gives a name to one member at a time. As long as it does not say, it may be so.
func (t *transacting) taken(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, placePause)
	defer cancel()
	groups, err := t.admin.DescribeGroups(ctx, t.group.Name)
	if err == nil {
		err = groups.Error()
	}
	if errors.Is(err, kerr.GroupIDNotFound) { // it has no member at all
		return false
	}
	if err != nil {
		return true
	}
	return slices.ContainsFunc(groups[t.group.Name].Members, func(m kadm.DescribedGroupMember) bool {
		return m.InstanceID != nil && *m.InstanceID == t.group.Member && m.MemberID != t.memberID
	})
}

func (t *transacting) drain(in session) error {
	outputs := layout{}
	opts := append(append(t.cfg.Options(), producing()...), kgo.RecordPartitioner(outputs.partitioner()))
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
		kgo.OnPartitionsAssigned(func(ctx context.Context, c *kgo.Client, _ map[string][]int32) {
			t.takeOver(ctx, c)
			in.begun()
		}),
	)...)
	if err != nil {
		return fmt.Errorf("kafka transactions: %w", err)
	}
	defer session.Close()
	defer func() { t.memberID, _ = session.Client().GroupMetadata() }()

	// A bell for what was done before this session is answered at once.
	asking, cancel := context.WithTimeout(in.reading, 15*time.Second)
	admin := kadm.NewClient(session.Client())
	committed, err := offsetsOf(asking, admin, t.group.Name, t.topic)
	if err == nil {
		err = outputs.learn(asking, admin, committed, t.outputs)
	}
	cancel()
	if err != nil {
		return err
	}
	in.durable(done(committed))
	gather := newGatherer(session.Client(), t.bounds, in.size)
	for {
		blocks, err := gather.next(in.reading)
		if err != nil {
			return err
		}
		if err := t.transact(in, session, outputs, *blocks[t.topic]); err != nil {
			return err
		}
		if err := in.reading.Err(); err != nil {
			return err
		}
	}
}

// transact turns one block into one transaction. A block that was not committed
// because the group was rebalanced is fetched again by whoever owns it now.
func (t *transacting) transact(in session, session *kgo.GroupTransactSession, outputs layout, b Block) error {
	limit, began := t.bounds.limit(), time.Now()
	ctx, cancel := context.WithTimeout(in.working, limit)
	defer cancel()
	all := len(b.Records)
	committed, settle, err := t.commit(ctx, in, session, outputs, &b)
	if err != nil {
		switch {
		case in.working.Err() != nil: // it was given up
		case ofRecord(err) && all == 1:
			t.unwritable[placeOf(b.Records[0])] = err
		case ofRecord(err) || tooSlow(err) || ctx.Err() != nil:
			in.size.failed(all)
		}
		return err
	}
	if !committed {
		return nil
	}
	in.durable(b.Next)
	if err := settle(ctx); err != nil {
		if ctx.Err() != nil && in.working.Err() == nil {
			in.size.failed(all)
		}
		return fmt.Errorf("settle a block of %s: %w", t.topic, err)
	}
	in.size.done(time.Since(began), limit)
	return nil
}

// abortLimit bounds the end of a transaction that failed. One that is not ended
// is, by the next with its name or by its timeout.
const abortLimit = 5 * time.Second

// commit runs the transaction: what the block's records lead to, a dead letter for
// each that nothing could be written of, and the block's offsets.
func (t *transacting) commit(ctx context.Context, in session, session *kgo.GroupTransactSession, outputs layout, b *Block) (committed bool, settle func(context.Context) error, err error) {
	letters, rest, err := t.letters(b.Records)
	if err != nil {
		return false, nil, err
	}
	committing, err := outputs.committing(ctx)
	if err != nil {
		return false, nil, err
	}
	if err := session.Begin(); err != nil {
		return false, nil, fmt.Errorf("begin a transaction: %w", err)
	}
	var failed kgo.FirstErrPromise
	var written sync.Map // the topics of the output
	produce := func(r *kgo.Record) {
		written.Store(r.Topic, nil)
		session.Produce(ctx, r, failed.Promise())
	}
	for _, l := range letters {
		produce(l)
	}
	work := *b
	work.Records = rest
	settle, err = t.transform(ctx, work, produce)
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
		limit := abortLimit
		if in.working.Err() != nil {
			limit = stopReserve / 2
		}
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		_, aborted := session.End(ending, kgo.TryAbort)
		return false, nil, errors.Join(err, aborted)
	}
	committed, err = session.End(committing, kgo.TryCommit)
	if err != nil {
		return false, nil, fmt.Errorf("commit a block of %s: %w", t.topic, err)
	}
	if committed {
		for _, r := range b.Records {
			delete(t.unwritable, placeOf(r))
		}
	}
	return committed, settle, nil
}

// letters are the dead letters of those records that nothing could be written of.
func (t *transacting) letters(records []*kgo.Record) (letters, rest []*kgo.Record, err error) {
	if len(t.unwritable) == 0 {
		return nil, records, nil
	}
	for _, r := range records {
		reason, bad := t.unwritable[placeOf(r)]
		if !bad {
			rest = append(rest, r)
			continue
		}
		letter, err := event.NewDeadLetter(t.name, r, reason).Record()
		if err != nil {
			return nil, nil, err
		}
		letters = append(letters, letter)
	}
	return letters, rest, nil
}

func placeOf(r *kgo.Record) place { return place{r.Partition, r.Offset} }
