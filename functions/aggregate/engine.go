package aggregate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

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
// the two leaves Redis behind, never ahead; the next process reads the
// missing records again and brings the histories up without emitting anything.
// An empty Redis is the same case from further behind.
type engine struct {
	kafka  kafka.Config
	codec  *event.Codec
	store  *historyStore
	limits cacheLimits
	now    func() time.Time

	opened  bool
	topicID string
	cache   *cache // nil while a block is worked on, and after one that failed
}

func newEngine(cfg kafka.Config, codec *event.Codec, m *historyStore, limits cacheLimits) *engine {
	return &engine{kafka: cfg, codec: codec, store: m, limits: limits, now: time.Now}
}

// transform computes one block.
func (e *engine) transform(ctx context.Context, b kafka.Block, produce func(*kgo.Record)) (afterCommit func(context.Context) error, err error) {
	if err := e.open(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if errors.Is(err, errChangedElsewhere) {
			e.opened = false
		}
	}()
	c := e.cache
	e.cache = nil
	if c == nil {
		c = newCache()
	}
	// What comes first after a start may have been tried before, by a
	// transaction whose fate is not known here: the stores look its keys up.
	restarted := c.restarted(b.First)
	if err := e.catchUp(ctx, c, b.First); err != nil {
		return nil, err
	}
	w := &work{
		engine: e, cache: c, restarted: restarted, at: e.now().UTC().Truncate(time.Millisecond),
		produce: produce, histories: map[int64]*history{},
	}
	if err := w.run(ctx, b.Records); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		c.add(w.histories, b.Next, len(b.Records))
		if c.records < e.limits.unsaved {
			e.cache = c // a history is written once for several blocks
			return nil
		}
		return e.save(ctx, c)
	}, nil
}

// save writes the histories of a cache that Redis does not have yet.
func (e *engine) save(ctx context.Context, c *cache) error {
	if err := e.store.save(ctx, e.topicID, c.unsaved, c.follows); err != nil {
		e.opened = false
		return err
	}
	c.markSaved(e.limits.repositories)
	e.cache = c
	return nil
}

// flush saves the cache before the process ends, so that the next has nothing to
// catch up on.
func (e *engine) flush(ctx context.Context) error {
	if e.cache == nil || len(e.cache.unsaved) == 0 {
		return nil
	}
	return e.save(ctx, e.cache)
}

// open learns the topic's id, registers what is emitted, and checks Redis.
func (e *engine) open(ctx context.Context) error {
	if e.opened {
		return nil
	}
	err := e.codec.Register(ctx, event.TypeRepoObserved, event.TypeRepoProcessed, event.TypeSignal)
	if errors.Is(err, event.ErrUnknownSchema) {
		return fmt.Errorf("%w: %w", kafka.ErrFatal, err)
	}
	if err != nil {
		return err
	}
	id, err := kafka.TopicID(ctx, e.kafka, event.TopicBaseRepos)
	if err != nil {
		return err
	}
	if err := e.store.open(ctx, id); err != nil {
		return err
	}
	e.topicID = id
	e.opened = true
	return nil
}

// catchUp brings the histories of each partition up to where a block begins. The
// cache is kept only if each partition goes on where this process left it, in
// Kafka and in Redis: otherwise another process has been at work.
func (e *engine) catchUp(ctx context.Context, c *cache, first kafka.Offsets) error {
	at, err := e.store.positions(ctx, e.topicID, c.partitions(first))
	if err != nil {
		return err
	}
	if changed := c.changedElsewhere(at); changed || !c.continues(first) {
		if !changed && len(c.unsaved) > 0 {
			if err := e.save(ctx, c); err != nil {
				return err
			}
			maps.Copy(at, c.saved)
		}
		c.evict(at)
	}
	for p, begins := range first {
		if c.continuesAt(p.Number, begins) {
			continue
		}
		if at[p.Number] > begins {
			if err := e.checkLogEnd(ctx, p, at[p.Number]); err != nil {
				return err
			}
		}
		c.saved[p.Number] = max(begins, at[p.Number])
		if at[p.Number] >= begins {
			continue
		}
		err := kafka.ReadRange(ctx, e.kafka, p, at[p.Number], begins, func(records []*kgo.Record, next int64) error {
			w := &work{engine: e, cache: newCache(), histories: map[int64]*history{}}
			if err := w.run(ctx, records); err != nil {
				return err
			}
			return e.store.save(ctx, e.topicID, w.histories, map[int32]int64{p.Number: next})
		})
		if err != nil {
			return fmt.Errorf("bring the histories of %s/%d from offset %d to %d: %w", p.Topic, p.Number, at[p.Number], begins, err)
		}
	}
	return nil
}

// checkLogEnd refuses histories that reach beyond the log: the broker has lost
// records that they contain, and would give the offsets of those to others.
func (e *engine) checkLogEnd(ctx context.Context, p kafka.Partition, at int64) error {
	ends, err := kafka.Ends(ctx, e.kafka, p.Topic)
	if err != nil {
		return err
	}
	end, ok := ends[p]
	if !ok { // a broker in trouble may answer for a part
		return fmt.Errorf("ask for the end of %s/%d: the broker left it out of its answer", p.Topic, p.Number)
	}
	if at > end {
		return fmt.Errorf("%w: redis is at offset %d of %s/%d, but the log ends at %d: the broker has lost records; flush this Redis to rebuild the state from what is left",
			kafka.ErrFatal, at, p.Topic, p.Number, end)
	}
	return nil
}

// work is one block being computed.
type work struct {
	engine    *engine
	cache     *cache
	restarted map[int32]bool // partitions whose records may have been computed before
	at        time.Time
	produce   func(*kgo.Record) // nil: only the histories are wanted
	histories map[int64]*history
	decoded   []event.RepoObserved // of the current pass: each is read into the memory of one of the pass before
}

// pass is how many records are computed at once: enough to keep every core
// busy, few enough to bound what is decoded in memory.
const pass = 8_192

// run computes records, in order for each repository, on histories as they are
// in Redis, which it does not write.
func (w *work) run(ctx context.Context, records []*kgo.Record) error {
	for some := range slices.Chunk(records, pass) {
		if err := w.pass(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// pass decodes records, gathers their histories, and observes: the first and
// the last on all cores, each repository on one.
func (w *work) pass(ctx context.Context, records []*kgo.Record) error {
	cores := runtime.GOMAXPROCS(0)
	if len(w.decoded) < len(records) {
		w.decoded = make([]event.RepoObserved, len(records))
	}
	observations := make([]*event.RepoObserved, len(records)) // nil: the record is invalid
	unsure := make([][]int, cores)                            // records whose schema is unknown until others have been read
	decoding, decodingCtx := errgroup.WithContext(ctx)
	for core := range cores {
		decoding.Go(func() error {
			for i := core; i < len(records); i += cores {
				if err := decodingCtx.Err(); err != nil {
					return err
				}
				var err error
				observations[i], err = w.decode(decodingCtx, records[i], &w.decoded[i])
				if errors.Is(err, event.ErrUnknownSchema) {
					observations[i] = nil
					unsure[core] = append(unsure[core], i)
					continue
				}
				if err != nil {
					return fmt.Errorf("%s/%d/%d: %w", records[i].Topic, records[i].Partition, records[i].Offset, err)
				}
			}
			return nil
		})
	}
	if err := decoding.Wait(); err != nil {
		return err
	}
	for _, i := range slices.Concat(unsure...) {
		invalid, err := kafka.InvalidReason(records[i], w.engine.codec.ObservedInto(ctx, records[i], &w.decoded[i]))
		if err == nil {
			err = w.deadLetter(records[i], invalid)
		}
		if err != nil {
			return err
		}
	}
	if err := w.gather(ctx, records, observations); err != nil {
		return err
	}
	observing, observingCtx := errgroup.WithContext(ctx)
	for core := range cores {
		observing.Go(func() error {
			var row event.RepoProcessed
			for i := range observations {
				o := observations[i]
				if err := observingCtx.Err(); err != nil {
					return err
				}
				if o == nil || uint64(o.ID)%uint64(cores) != uint64(core) {
					continue
				}
				if err := w.observe(observingCtx, records[i], o, &row); err != nil {
					return fmt.Errorf("%s/%d/%d: %w", records[i].Topic, records[i].Partition, records[i].Offset, err)
				}
			}
			return nil
		})
	}
	return observing.Wait()
}

// decode reads an observation into o. Of an invalid record it makes a dead letter,
// and returns nil.
func (w *work) decode(ctx context.Context, r *kgo.Record, o *event.RepoObserved) (*event.RepoObserved, error) {
	err := w.engine.codec.ObservedInto(ctx, r, o)
	if errors.Is(err, event.ErrInvalid) {
		return nil, w.deadLetter(r, err)
	}
	return o, err
}

// gather finds the histories of the observed repositories: among those of the
// block, in the cache, or in Redis.
func (w *work) gather(ctx context.Context, records []*kgo.Record, observations []*event.RepoObserved) error {
	var missing []int64
	for i, o := range observations {
		if o == nil || w.histories[o.ID] != nil {
			continue
		}
		id := o.ID
		if h := w.cache.history(id, records[i].Partition); h != nil {
			w.histories[id] = h
			continue
		}
		w.histories[id] = &history{}
		missing = append(missing, id)
	}
	loaded, err := w.engine.store.load(ctx, missing)
	if err != nil {
		return err
	}
	maps.Copy(w.histories, loaded)
	return nil
}

// observe computes one observation. A repeat of a point still kept is skipped; one
// that may be a repeat of a point long thinned away is emitted as late, and the
// stores look its key up. row is the caller's, to be used again.
func (w *work) observe(ctx context.Context, r *kgo.Record, o *event.RepoObserved, row *event.RepoProcessed) error {
	h := w.histories[o.ID]
	if h.has(r.Partition, r.Offset) {
		return nil
	}
	h.mark(r.Partition, r.Offset)
	p := velocity.PointOf(o)
	if h.points.Has(p.At) {
		return nil
	}
	newest := h.points.Newest()
	late := newest != nil && p.At < newest.At

	var before velocity.Velocities
	var last *velocity.Point
	switch {
	case late:
		before = h.points.Measure(*newest)
	case newest != nil:
		last = new(*newest) // Insert moves points
	}
	h.Known++
	h.points = h.points.Insert(p)
	if w.produce != nil {
		row.Observation, row.ProcessedAt, row.Revision, row.Late = *o, w.at, h.Known, late
		row.Velocities = h.points.Measure(p)
		mayRepeat := late || w.restarted[r.Partition] || event.Repeats(r)
		if err := w.emit(ctx, row, mayRepeat); err != nil {
			return err
		}
		if !late {
			if err := w.raise(ctx, h, last, h.Newest, row, mayRepeat); err != nil {
				return err
			}
		}
	}
	if !late {
		h.Newest = r.Value
		return nil
	}
	after := h.points.Measure(*h.points.Newest())
	if w.produce == nil || after == before {
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
	row := event.RepoProcessed{Observation: *o, ProcessedAt: w.at, Revision: h.Known, Velocities: v}
	return w.emit(ctx, &row, true)
}

func (w *work) emit(ctx context.Context, row *event.RepoProcessed, mayRepeat bool) error {
	r, err := w.engine.codec.Record(ctx, row, mayRepeat)
	if err != nil {
		return err
	}
	w.produce(r)
	return nil
}

// deadLetter makes a dead letter of a record that can never be computed.
func (w *work) deadLetter(r *kgo.Record, reason error) error {
	if w.produce == nil {
		return nil
	}
	letter, err := event.NewDeadLetter(stage, r, reason).Record()
	if err != nil {
		return err
	}
	w.produce(letter)
	return nil
}
