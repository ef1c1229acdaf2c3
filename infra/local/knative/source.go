package knative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// source is a KafkaSource. One goroutine reads records from Kafka and passes them,
// unordered, to as many workers as requests may be in flight; while all are busy it
// reads none, so memory is bounded.
type source struct {
	Source
	namespace string
	cfg       Config
	random    *rand.Rand // of the goroutine that reads records
	post      poster

	client   *kgo.Client
	progress *progress
	halt     chan struct{}  // closed: begin nothing new
	working  sync.WaitGroup // taking and posting
	ended    sync.WaitGroup // committing
	stopping sync.Once
	// posting ends the requests in flight.
	posting context.Context
	abort   context.CancelFunc

	inFlight, delivered, retried, dropped, droppedBells atomic.Int64
}

func newSource(s Source, cfg Config, random *rand.Rand, post poster) *source {
	return &source{Source: s, namespace: cfg.Topology.Namespace, cfg: cfg, random: random, post: post, halt: make(chan struct{}), progress: newProgress()}
}

// item is a record on its way, with the account of its partition.
type item struct {
	record *kgo.Record
	of     *partition
}

func (s *source) start(ctx context.Context, admin *kadm.Client) error {
	initial := kgo.NewOffset().AtStart()
	if s.Latest {
		initial = kgo.NewOffset().AtEnd()
		if err := s.initOffsets(ctx, admin); err != nil {
			return err
		}
	}
	client, err := kgo.NewClient(append(s.cfg.Kafka.Options(),
		kgo.ConsumerGroup(s.Group),
		kgo.ConsumeTopics(s.Topic),
		kgo.ConsumeResetOffset(initial),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The markers of transactions come too, so that the position passes
		// them and the lag of a topic that is all delivered is 0.
		kgo.KeepControlRecords(),
		kgo.DisableAutoCommit(),
		// A runner that was killed stays a member of the group for this long.
		kgo.SessionTimeout(10*time.Second),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, gone map[string][]int32) {
			s.commit(ctx, c)
			s.progress.forget(gone[s.Topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			s.progress.forget(gone[s.Topic])
		}),
		// Records are small and are posted one by one: fetching far ahead is waste.
		kgo.FetchMaxBytes(4<<20),
		kgo.FetchMaxPartitionBytes(512<<10),
		kgo.FetchMaxWait(time.Second),
	)...)
	if err != nil {
		return fmt.Errorf("KafkaSource %s: %w", s.Name, err)
	}
	s.client = client
	s.posting, s.abort = context.WithCancel(context.Background())
	work := make(chan item)
	for range s.cfg.InFlight {
		s.working.Go(func() {
			for it := range work {
				s.send(it)
			}
		})
	}
	s.working.Go(func() {
		defer close(work)
		s.take(work)
	})
	s.ended.Go(s.keepCommitting)
	return nil
}

// initOffsets commits the end of each partition that the group has no offset of.
// Knative does so before a source that begins at the latest record is ready, so that
// all records from then on are delivered, whenever the dispatcher reaches them.
func (s *source) initOffsets(ctx context.Context, admin *kadm.Client) error {
	var ends kadm.ListedOffsets
	err := whenReady(ctx, func() (err error) {
		if ends, err = admin.ListEndOffsets(ctx, s.Topic); err == nil {
			err = ends.Error()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("KafkaSource %s: list the ends of %s: %w", s.Name, s.Topic, err)
	}
	var have kadm.OffsetResponses
	err = whenReady(ctx, func() (err error) {
		have, err = admin.FetchOffsets(ctx, s.Group)
		return err
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // not there: nothing is committed yet
		return fmt.Errorf("KafkaSource %s: fetch the offsets of group %s: %w", s.Name, s.Group, err)
	}
	missing := kadm.Offsets{}
	ends.Each(func(end kadm.ListedOffset) {
		if at, ok := have.Lookup(end.Topic, end.Partition); !ok || at.At < 0 {
			missing.AddOffset(end.Topic, end.Partition, end.Offset, -1)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	if err := whenReady(ctx, func() error { return admin.CommitAllOffsets(ctx, s.Group, missing) }); err != nil {
		return fmt.Errorf("KafkaSource %s: commit the first offsets of group %s: %w", s.Name, s.Group, err)
	}
	return nil
}

// readyBy is how long a broker that has just started may take to have a coordinator
// for the group, and all brokers to know a new topic.
const readyBy = 30 * time.Second

// whenReady asks again while the answer is an error that Kafka calls retriable.
// The client itself gives up after its 20 retries.
func whenReady(ctx context.Context, ask func() error) error {
	for began := time.Now(); ; {
		err := ask()
		if !kerr.IsRetriable(err) || time.Since(began) > readyBy {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// take passes records to the workers until the source is stopped.
func (s *source) take(work chan<- item) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-s.halt
		cancel()
	}()
	items := make([]item, 0, s.cfg.InFlight)
	due := time.Now()
	for {
		fetches := s.client.PollRecords(ctx, s.cfg.InFlight)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, n int32, err error) {
			slog.Warn("KafkaSource cannot read", "source", s.Name, "topic", topic, "partition", n, "error", err)
		})
		items = items[:0]
		fetches.EachRecord(func(r *kgo.Record) {
			if of, ok := s.progress.track(r); ok {
				items = append(items, item{r, of})
			}
		})
		// All are accounted for: a rebalance may take their partition away now.
		s.client.AllowRebalance()
		for _, it := range items {
			if s.cfg.DropBells > 0 && s.random.Float64() < s.cfg.DropBells {
				s.droppedBells.Add(1)
				s.progress.done(it)
				continue
			}
			if s.cfg.Rate > 0 {
				if now := time.Now(); due.Before(now) {
					due = now
				}
				select {
				case <-time.After(time.Until(due)):
				case <-s.halt:
					return
				}
				due = due.Add(time.Duration(float64(time.Second) / s.cfg.Rate))
			}
			select {
			case work <- it:
			case <-s.halt:
				return
			}
		}
	}
}

// send delivers one record. A delivery that is given up counts as done, like one
// that succeeded; one that the stop interrupts is repeated after the restart.
func (s *source) send(it item) {
	s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	v, status, err := deliver(s.posting, s.halt, s.Delivery, s.post, s.header(it.record), it.record.Value, func() { s.retried.Add(1) })
	switch v {
	case halted:
		return
	case delivered:
		s.delivered.Add(1)
	case lost:
		s.dropped.Add(1)
		slog.Warn("delivery given up", "source", s.Name, "topic", it.record.Topic, "partition", it.record.Partition, "offset", it.record.Offset,
			"status", status, "error", err)
	}
	s.progress.done(it)
}

func (s *source) keepCommitting() {
	every := time.NewTicker(s.cfg.CommitEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			s.commit(s.posting, s.client)
		case <-s.halt:
			return
		}
	}
}

func (s *source) commit(ctx context.Context, client *kgo.Client) {
	offsets := s.progress.uncommitted()
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := commitOffsets(ctx, client, s.Topic, offsets); err != nil {
		slog.Warn("KafkaSource cannot commit", "source", s.Name, "error", err)
		return
	}
	s.progress.committed(offsets)
}

// postGrace is how long requests in flight may go on while the source stops.
const postGrace = 5 * time.Second

// stop takes no more records, waits for the requests in flight within the
// grace, and commits.
func (s *source) stop() {
	if s.client == nil {
		return
	}
	s.stopping.Do(func() {
		close(s.halt)
		overdue := time.AfterFunc(postGrace, s.abort)
		s.working.Wait()
		overdue.Stop()
		s.ended.Wait()
		s.commit(context.Background(), s.client)
		s.abort()
		s.client.CloseAllowingRebalance()
	})
}
