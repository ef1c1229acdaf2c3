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
	"github.com/m7pulse/m7pulse/shared/trace"
)

// Transform computes the output of a block of records. It has no effect of its own:
// what it produces, from any goroutine, is committed in one Kafka transaction together
// with a bell for each topic written to and the block's offsets. afterCommit runs once
// the transaction is committed. A crash may prevent it: the next Transform must notice
// that and do the work.
type Transform func(ctx context.Context, b Block, produce func(*kgo.Record)) (afterCommit func(context.Context) error, err error)

// Group is the consumer group that a transacting drain is a member of.
type Group struct {
	Name string
	// Member is this process's fixed name in the group and in its transactions:
	// a successor with the same name takes over at once, and fences the
	// predecessor. Processes that share the work leave it empty, and each is a
	// dynamic member: its partitions are freed when the process ends, or, after
	// a crash, when its session expires after 10 s.
	Member string
}

// errFenced: another process may have taken this one's member name. A new session
// would fence that process in turn.
var errFenced = errors.New("another process has taken over, or the transaction took too long")

// NewTransactDrain drains a topic through a Transform in Kafka transactions.
// outputs are the topics that it writes to, besides dead letters; they must exist.
// All records of one key are written to one partition of an output, even if
// partitions are added to it in between.
func NewTransactDrain(name string, cfg Config, bounds Bounds, topic string, group Group, t Transform, outputs ...string) (*Drain, error) {
	s := &transacting{name: name, cfg: cfg, bounds: bounds, topic: topic, outputs: outputs, group: group, transform: t, rejected: map[position]error{}}
	d, err := newDrain(name, cfg, []string{topic}, bounds)
	if err != nil {
		return nil, err
	}
	d.loop, d.outputs, d.taken, s.admin, s.blocks = s.run, outputs, s.taken, d.admin, d.blocks
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
	blocks    *blockMetrics
	memberID  string // in the group, of the last session
	// rejected are the records whose transaction failed although it had no other
	// record, and why: they become dead letters when they are read again.
	rejected map[position]error
}

// position identifies a record of the topic.
type position struct {
	partition int32
	offset    int64
}

func (t *transacting) run(in session) error {
	err := t.drain(in)
	if t.group.Member != "" && classOf(err) == fenced { // a random name is nobody else's
		return fmt.Errorf("%w: %w", errFenced, err)
	}
	return err
}

// takeOver aborts the transaction that a predecessor of this name may have left open:
// until its timeout its offsets would be pending, and could not be fetched. It runs
// once this process is a member of the group, so that a predecessor that is still
// running finds that it was replaced.
func (t *transacting) takeOver(ctx context.Context, client *kgo.Client) {
	if t.group.Member == "" { // a random name has no predecessor
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, _, _ = client.ProducerID(ctx) // an error shows again in the first transaction
}

// taken reports whether another process has this one's member name: the broker gives
// a name to one member at a time. If the broker cannot be asked, it reports true.
func (t *transacting) taken(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, takenPause)
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
	opts := append(append(t.cfg.Options(), producerOptions()...), kgo.RecordPartitioner(outputs.partitioner()))
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
		kgo.MetadataMaxAge(time.Minute), // the leader of the group finds added partitions by it; see watch, too
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxBytes(4<<20), // unpacked, with its records' headers, it takes eight times as much
		kgo.FetchMaxPartitionBytes(1<<20),
		kgo.OnPartitionsAssigned(func(ctx context.Context, c *kgo.Client, _ map[string][]int32) {
			t.takeOver(ctx, c)
			in.started()
		}),
	)...)
	if err != nil {
		return fmt.Errorf("kafka transactions: %w", err)
	}
	defer session.Close()
	defer func() { t.memberID, _ = session.Client().GroupMetadata() }()

	// A bell for what was committed before this session is answered at once.
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
	in.durable(nextOffsets(committed))
	var watching sync.WaitGroup
	defer watching.Wait()
	alive, end := context.WithCancel(in.reading)
	defer end()
	watching.Go(func() { watch(alive, in, session.Client()) })
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

// watch has the client look for partitions that were added to the topic when a bell
// has come for one: as the leader of its group it then has them assigned.
func watch(ctx context.Context, in session, client *kgo.Client) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.unassigned:
			client.ForceMetadataRefresh()
		}
	}
}

// transact processes one block in one transaction. A block that was not committed
// because the group rebalanced is fetched again by the member that owns it now.
func (t *transacting) transact(in session, session *kgo.GroupTransactSession, outputs layout, b Block) (err error) {
	limit, began := t.bounds.limit(), time.Now()
	ctx, span := startBlock(in.working, t.name, t.topic, b.Records)
	defer func() { span.End(err) }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	all := len(b.Records)
	committed, afterCommit, err := t.commit(ctx, in, session, outputs, &b)
	if err != nil {
		if in.working.Err() == nil { // else it was cancelled
			t.blocks.failed(t.topic)
		}
		switch {
		case in.working.Err() != nil:
		case causedByRecord(err) && all == 1:
			t.rejected[positionOf(b.Records[0])] = err
		case causedByRecord(err) || timedOut(err) || ctx.Err() != nil:
			in.size.failed(all)
		}
		return err
	}
	if !committed {
		span.Set("m7pulse.rebalanced", true)
		return nil
	}
	t.blocks.committed(t.topic, all, time.Since(began)) // first: whoever waits for the block sends the metrics
	in.durable(b.Next)
	if err := afterCommit(ctx); err != nil {
		if ctx.Err() != nil && in.working.Err() == nil {
			in.size.failed(all)
		}
		return fmt.Errorf("after the commit of a block of %s: %w", t.topic, err)
	}
	in.size.done(time.Since(began), limit)
	return nil
}

// abortLimit bounds the abort of a transaction that failed. One that was not aborted
// in time is by the next with its name, or by its timeout.
const abortLimit = 5 * time.Second

// commit runs the transaction: the output of the block's records, a dead letter for
// each rejected one, and the block's offsets.
func (t *transacting) commit(ctx context.Context, in session, session *kgo.GroupTransactSession, outputs layout, b *Block) (committed bool, afterCommit func(context.Context) error, err error) {
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
	afterCommit, err = t.transform(ctx, work, produce)
	if err != nil {
		err = fmt.Errorf("process a block of %s: %w", t.topic, err)
	}
	// One bell a block, in its transaction: it is read if and only if the block's
	// output is.
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
	ending, span := trace.Start(committing, trace.Client, "commit", "messaging.system", "kafka")
	committed, err = session.End(ending, kgo.TryCommit)
	span.End(err)
	if err != nil {
		return false, nil, fmt.Errorf("commit a block of %s: %w", t.topic, err)
	}
	if committed {
		for _, r := range b.Records {
			delete(t.rejected, positionOf(r))
		}
	}
	return committed, afterCommit, nil
}

// letters splits a block into the dead letters of its rejected records and the rest.
func (t *transacting) letters(records []*kgo.Record) (letters, rest []*kgo.Record, err error) {
	if len(t.rejected) == 0 {
		return nil, records, nil
	}
	for _, r := range records {
		reason, rejected := t.rejected[positionOf(r)]
		if !rejected {
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

func positionOf(r *kgo.Record) position { return position{r.Partition, r.Offset} }
