package kafka

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/m7pulse/m7pulse/shared/trace"
)

// Mark is how far a store has come in one partition. The topic is identified by its
// id: one that was deleted and recreated is another, though its name is the same.
type Mark struct {
	TopicID   string // 32 hex digits
	Partition int32
	Next      int64
}

// Store keeps blocks, and with them the offsets from which to go on.
type Store interface {
	// Resume prepares the store for a writer of some partitions of a topic, and
	// returns its marks for the topic, under any topic id, for at least those
	// partitions.
	Resume(ctx context.Context, topic string, partitions []int32) ([]Mark, error)
	// Prepare computes what to store for a block of one topic. It neither writes to
	// the store nor reads it, for the block before may not be stored yet. After a put
	// that failed, Resume is called before the next Prepare.
	Prepare(ctx context.Context, topicID string, b Block) (Put, error)
}

// Put stores a block and returns the offsets from which the store would now resume:
// those after the block. They may be earlier, or none, only if Block.More is set.
type Put func(context.Context) (Offsets, error)

// Share is a part of a topic's partitions, for several processes that drain it in
// parallel: those whose number is Index modulo Of. The zero Share is all of them.
type Share struct{ Index, Of int }

// UnmarshalText parses "2/3", the last of three shares.
func (s *Share) UnmarshalText(text []byte) error {
	index, of, ok := strings.Cut(string(text), "/")
	var errs [2]error
	s.Index, errs[0] = strconv.Atoi(index)
	s.Of, errs[1] = strconv.Atoi(of)
	if !ok || errors.Join(errs[:]...) != nil || s.Index < 0 || s.Of < 1 || s.Index >= s.Of {
		return fmt.Errorf("invalid share %q: want index/count, such as 0/3", text)
	}
	return nil
}

func (s Share) has(partition int32) bool { return s.Of == 0 || int(partition)%s.Of == s.Index }

// NewStoreDrain drains a share of topics into a store, each topic in blocks of
// its own. While one block is being stored the next is gathered and prepared.
func NewStoreDrain(name string, cfg Config, bounds Bounds, share Share, stores map[string]Store) (*Drain, error) {
	var topics []string
	for t := range stores {
		topics = append(topics, t)
	}
	s := &storing{name: name, cfg: cfg, bounds: bounds, share: share, topics: topics, stores: stores}
	d, err := newDrain(name, cfg, topics, bounds)
	if err != nil {
		return nil, err
	}
	d.share, d.loop = share, s.run
	s.admin, s.breaker, s.blocks = d.admin, d.breaker, d.blocks
	return d, nil
}

// storing is the loop that drains into stores.
type storing struct {
	name   string
	cfg    Config
	bounds Bounds
	share  Share
	topics []string
	stores map[string]Store
	admin  *kadm.Client

	breaker *breaker
	blocks  *blockMetrics
}

func (s *storing) run(in session) error {
	ctx := in.reading
	from, ids, err := s.resume(ctx)
	if err != nil {
		return err
	}
	in.durable(from)
	in.started()
	assign := map[string]map[int32]kgo.Offset{}
	for p, next := range from {
		if assign[p.Topic] == nil {
			assign[p.Topic] = map[int32]kgo.Offset{}
		}
		assign[p.Topic][p.Number] = kgo.NewOffset().At(next)
	}
	client, err := kgo.NewClient(append(s.cfg.Options(),
		kgo.ConsumePartitions(assign),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxBytes(4<<20),
		kgo.FetchMaxPartitionBytes(512<<10),
	)...)
	if err != nil {
		return fmt.Errorf("kafka consumer: %w", err)
	}
	defer client.Close()

	// The current block is stored even while the function stops, if there is time:
	// its work is done, and a successor need not do it again.
	work, reading := errgroup.WithContext(in.working)
	reading, stop := context.WithCancel(reading)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	work.Go(func() error { return s.watch(reading, in, from) })
	ready := make(chan prepared)
	work.Go(func() error {
		defer close(ready)
		return s.prepare(in, reading, newGatherer(client, s.bounds, in.size), ids, ready)
	})
	work.Go(func() error {
		for p := range ready {
			stored, err := s.store(in, p)
			if err != nil {
				return err
			}
			in.durable(stored)
		}
		return nil
	})
	return work.Wait()
}

// errPartitionsAdded ends a session whose topics have partitions that they did not
// have when it began.
var errPartitionsAdded = errors.New("partitions were added to a topic")

// watch ends the session when a bell comes from a partition that was added since it
// began: the next session reads that one too.
func (s *storing) watch(ctx context.Context, in session, from Offsets) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-in.unassigned:
		}
		topics, err := s.admin.ListTopics(ctx, s.topics...)
		if err != nil {
			continue // the bell is sent again
		}
		for _, topic := range s.topics {
			for n := range topics[topic].Partitions {
				if _, known := from[Partition{topic, n}]; !known && s.share.has(n) {
					return errPartitionsAdded
				}
			}
		}
	}
}

// prepared is a block that is ready to be stored.
type prepared struct {
	topic   string
	records int
	put     Put
	span    trace.Span
	began   time.Time
}

// prepare gathers and prepares blocks, and sends them to out, until ctx ends.
func (s *storing) prepare(in session, ctx context.Context, gather *gatherer, ids map[string]string, out chan<- prepared) error {
	for {
		blocks, err := gather.next(ctx)
		if err != nil {
			return err
		}
		for topic, b := range blocks {
			began := time.Now()
			within, span := startBlock(in.working, s.name, topic, b.Records)
			preparing, cancel := context.WithTimeout(within, s.bounds.limit())
			put, err := s.stores[topic].Prepare(preparing, ids[topic], *b)
			cancel()
			if err != nil {
				span.End(err)
				s.blocks.failed(topic)
				in.size.failed(len(b.Records))
				return fmt.Errorf("prepare a block of %s: %w", topic, err)
			}
			if !send(ctx, out, prepared{topic, len(b.Records), put, span, began}) {
				span.End(ctx.Err())
				break
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// send sends a block to out. Once ctx has ended it does so only if that need not
// wait: there is no time to store two blocks.
func send(ctx context.Context, out chan<- prepared, p prepared) bool {
	select {
	case out <- p:
		return true
	default:
	}
	select {
	case out <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// store stores a block. Whatever it fails with, the next block is smaller: stores
// report a block that is too large, or takes too long, in many different ways.
func (s *storing) store(in session, p prepared) (stored Offsets, err error) {
	limit := s.bounds.limit()
	defer func() { p.span.End(err) }()
	ctx, storing := trace.Start(p.span.In(in.working), trace.Internal, "store")
	defer func() { storing.End(err) }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err = s.breaker.put(func() (err error) {
		stored, err = p.put(ctx)
		return err
	})
	if err != nil {
		if !errors.Is(err, ErrOpen) && in.working.Err() == nil {
			s.blocks.failed(p.topic)
			in.size.failed(p.records)
		}
		return nil, fmt.Errorf("store a block of %s: %w", p.topic, err)
	}
	in.size.done(time.Since(began), limit)
	s.blocks.committed(p.topic, p.records, time.Since(p.began))
	return stored, nil
}

// resume asks every store how far it has come and checks that against the log. The
// log's offsets are read after the stores': Resume may wait for another writer, which
// goes on storing meanwhile.
func (s *storing) resume(ctx context.Context) (Offsets, map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	topics, err := s.admin.ListTopics(ctx, s.topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("describe %v: %w", s.topics, err)
	}
	ids, stored := map[string]string{}, map[string][]Mark{}
	for _, topic := range s.topics {
		detail := topics[topic]
		if detail.Err != nil {
			return nil, nil, fmt.Errorf("describe topic %s: %w", topic, detail.Err)
		}
		ids[topic] = hex.EncodeToString(detail.ID[:])
		var mine []int32
		for n := range detail.Partitions {
			if s.share.has(n) {
				mine = append(mine, n)
			}
		}
		stored[topic], err = s.breaker.resume(func() ([]Mark, error) { return s.stores[topic].Resume(ctx, topic, mine) })
		if err != nil {
			return nil, nil, fmt.Errorf("resume %s: %w", topic, err)
		}
	}
	starts, err := s.admin.ListStartOffsets(ctx, s.topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("list the starts of %v: %w", s.topics, err)
	}
	ends, err := s.admin.ListEndOffsets(ctx, s.topics...)
	if err != nil {
		return nil, nil, fmt.Errorf("list the ends of %v: %w", s.topics, err)
	}
	from := Offsets{}
	for _, topic := range s.topics {
		for n := range topics[topic].Partitions {
			start, known := starts.Lookup(topic, n)
			end, knownToo := ends.Lookup(topic, n)
			if err := errors.Join(start.Err, end.Err); err != nil {
				return nil, nil, fmt.Errorf("offsets of %s/%d: %w", topic, n, err)
			}
			if !known || !knownToo { // a broker in trouble may answer for a part
				return nil, nil, fmt.Errorf("offsets of %s/%d: the broker left them out of its answer", topic, n)
			}
			if s.share.has(n) {
				from[Partition{topic, n}] = start.Offset
			}
		}
		for _, m := range stored[topic] {
			p := Partition{topic, m.Partition}
			start := from[p]
			end, exists := ends.Lookup(topic, m.Partition)
			switch {
			case m.TopicID != ids[topic]:
				return nil, nil, fmt.Errorf("%w: the store holds offsets of topic %s under id %s, but the broker's %s has id %s: the topic was recreated; point the function to its old Kafka, or empty the store",
					ErrFatal, topic, m.TopicID, topic, ids[topic])
			case !exists || m.Next > end.Offset:
				return nil, nil, fmt.Errorf("%w: the store is at offset %d of %s/%d, but the log ends at %d: the broker has lost records",
					ErrFatal, m.Next, topic, m.Partition, end.Offset)
			case !s.share.has(m.Partition):
			case m.Next < start:
				slog.Error("gap: records were deleted before they were stored", "topic", topic, "partition", m.Partition, "from", m.Next, "to", start)
			default:
				from[p] = m.Next
			}
		}
	}
	return from, ids, nil
}
