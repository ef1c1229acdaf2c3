package aggregate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// stage names this function in dead letters.
const stage = "aggregate"

// engine computes blocks of observations.
//
// Kafka goes first, Redis follows: a block's results and offsets are committed
// in one transaction, and only then are its histories written. A crash between
// the two leaves Redis behind, never ahead; whoever comes next reads the
// missing records again and brings the histories up without emitting anything.
// An empty Redis is the same case from further behind.
type engine struct {
	kafka  kafka.Config
	codec  *event.Codec
	memory *memory
	now    func() time.Time

	opened  bool
	topicID string
	follows map[int32]int64 // where the next block of a partition begins if it follows the last
}

func newEngine(cfg kafka.Config, codec *event.Codec, m *memory) *engine {
	return &engine{kafka: cfg, codec: codec, memory: m, now: time.Now, follows: map[int32]int64{}}
}

// transform computes one block.
func (e *engine) transform(ctx context.Context, b kafka.Block) ([]*kgo.Record, func(context.Context) error, error) {
	if err := e.open(ctx); err != nil {
		return nil, nil, err
	}
	if err := e.catchUp(ctx, b.First); err != nil {
		return nil, nil, err
	}
	// What comes first after a start may have been tried before, by a
	// transaction whose fate is not known here: the stores look its keys up.
	resumed := map[int32]bool{}
	for p, begins := range b.First {
		resumed[p.Number] = e.follows[p.Number] != begins
	}
	w, err := e.work(ctx, b.Records, resumed)
	if err != nil {
		return nil, nil, err
	}
	next := map[int32]int64{}
	for p, n := range b.Next {
		next[p.Number] = n
	}
	settle := func(ctx context.Context) error {
		maps.Copy(e.follows, next)
		if err := e.memory.save(ctx, e.topicID, w.histories, next); err != nil {
			e.opened = false
			return err
		}
		return nil
	}
	return w.out, settle, nil
}

// open learns the topic's id, registers what is emitted, and checks Redis.
func (e *engine) open(ctx context.Context) error {
	if e.opened {
		return nil
	}
	if err := e.codec.Register(ctx, event.TypeRepoObserved, event.TypeRepoProcessed); err != nil {
		return err
	}
	id, err := kafka.TopicID(ctx, e.kafka, event.TopicBaseRepos)
	if err != nil {
		return err
	}
	if err := e.memory.open(ctx, id); err != nil {
		return err
	}
	e.topicID = id
	e.opened = true
	return nil
}

// catchUp brings the histories of each partition up to where a block begins.
func (e *engine) catchUp(ctx context.Context, first kafka.Offsets) error {
	var partitions []int32
	for p := range first {
		partitions = append(partitions, p.Number)
	}
	at, err := e.memory.positions(ctx, e.topicID, partitions)
	if err != nil {
		return err
	}
	for p, begins := range first {
		if at[p.Number] > begins {
			if err := e.ahead(ctx, p, at[p.Number]); err != nil {
				return err
			}
		}
		if at[p.Number] >= begins {
			continue
		}
		err := kafka.ReadRange(ctx, e.kafka, p, at[p.Number], begins, func(records []*kgo.Record, next int64) error {
			w, err := e.work(ctx, records, nil)
			if err != nil {
				return err
			}
			return e.memory.save(ctx, e.topicID, w.histories, map[int32]int64{p.Number: next})
		})
		if err != nil {
			return fmt.Errorf("bring the histories of %s/%d from offset %d to %d: %w", p.Topic, p.Number, at[p.Number], begins, err)
		}
	}
	return nil
}

// ahead refuses histories that reach beyond the log: the broker has lost records
// that they know of, and would give their offsets to others.
func (e *engine) ahead(ctx context.Context, p kafka.Partition, at int64) error {
	ends, err := kafka.Ends(ctx, e.kafka, p.Topic)
	if err != nil {
		return err
	}
	if at > ends[p] {
		return fmt.Errorf("%w: redis is at offset %d of %s/%d, but the log ends at %d: the broker has lost records; flush this Redis to rebuild the state from what is left",
			kafka.ErrFatal, at, p.Topic, p.Number, ends[p])
	}
	return nil
}

// work is one block being computed.
type work struct {
	engine    *engine
	resumed   map[int32]bool // partitions whose records may have been computed before
	at        time.Time
	histories map[int64]*history
	out       []*kgo.Record
}

// work computes records in order, on histories as they are in Redis, which it
// does not write.
func (e *engine) work(ctx context.Context, records []*kgo.Record, resumed map[int32]bool) (*work, error) {
	w := &work{engine: e, resumed: resumed, at: e.now().UTC().Truncate(time.Millisecond)}
	observations := make([]*event.RepoObserved, len(records))
	seen := map[int64]bool{}
	var repos []int64
	for i, r := range records {
		o, err := e.codec.Observed(ctx, r)
		if errors.Is(err, event.ErrInvalid) {
			if err := w.bury(r, err); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		observations[i] = &o
		if !seen[o.ID] {
			seen[o.ID] = true
			repos = append(repos, o.ID)
		}
	}
	var err error
	if w.histories, err = e.memory.load(ctx, repos); err != nil {
		return nil, err
	}
	for i, o := range observations {
		if o == nil {
			continue
		}
		if err := w.observe(ctx, records[i], o); err != nil {
			return nil, fmt.Errorf("%s/%d/%d: %w", records[i].Topic, records[i].Partition, records[i].Offset, err)
		}
	}
	return w, nil
}

// observe computes one observation. A repeat of one still held is swallowed; one
// that may be a repeat of a point long thinned away is emitted as late, and the
// stores look its key up.
func (w *work) observe(ctx context.Context, r *kgo.Record, o *event.RepoObserved) error {
	h := w.histories[o.ID]
	if h.has(r.Partition, r.Offset) {
		return nil
	}
	h.mark(r.Partition, r.Offset)
	p := point(o)
	if h.Points.Find(p.At) != nil {
		return nil
	}
	newest, any := h.Points.Newest()
	late := any && p.At < newest

	var before velocity.Velocities
	if late {
		before = h.Points.Measure(*h.Points.Find(newest))
	}
	h.Known++
	h.Points = h.Points.Insert(p)
	row := event.RepoProcessed{Observation: *o, ProcessedAt: w.at, Revision: h.Known, Late: late, Velocities: h.Points.Measure(p)}
	if err := w.emit(ctx, &row, late || w.resumed[r.Partition] || event.Header(r, "ce_"+event.MayRepeat) == "true"); err != nil {
		return err
	}
	if !late {
		h.Newest = r.Value
		return nil
	}
	after := h.Points.Measure(*h.Points.Find(newest))
	if after.Equal(&before) {
		return nil
	}
	return w.restate(ctx, h, after)
}

// restate emits the newest observation again, with velocities that a late one
// has changed. The current state is exact in any order.
func (w *work) restate(ctx context.Context, h *history, v velocity.Velocities) error {
	o, err := w.engine.codec.Observed(ctx, &kgo.Record{Value: h.Newest})
	if err != nil {
		return fmt.Errorf("read the newest observation again: %w", err)
	}
	row := event.RepoProcessed{Observation: o, ProcessedAt: w.at, Revision: h.Known, Velocities: v}
	return w.emit(ctx, &row, true)
}

func (w *work) emit(ctx context.Context, row *event.RepoProcessed, mayRepeat bool) error {
	r, err := w.engine.codec.Record(ctx, row, mayRepeat)
	if err != nil {
		return err
	}
	w.out = append(w.out, r)
	return nil
}

// bury makes a dead letter of a record that can never be computed.
func (w *work) bury(r *kgo.Record, reason error) error {
	letter, err := event.NewDeadLetter(stage, r, reason).Record()
	if err != nil {
		return err
	}
	w.out = append(w.out, letter)
	return nil
}

func point(o *event.RepoObserved) velocity.Point {
	return velocity.Point{
		At: o.ObservedAt.UnixMilli(), Stars: o.Stars, Forks: o.Forks, OpenIssues: o.OpenIssues,
		MergedPRs: o.MergedPRs, ClosedIssues: o.ClosedIssues, CommitsTotal: o.CommitsTotal,
	}
}
