package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Decoder reads the records of block after block, each as an R, into the memory
// of those it is given back: a row is dozens of small pieces, and to find and to
// free them takes a sink a fifth of its time.
type Decoder[R any] struct {
	read func(context.Context, *kgo.Record, *R) error

	mu    sync.Mutex
	spare []*R // at most mostSpare
}

// mostSpare is two blocks of a bulk job and some: a function that has worked off
// a backlog does not keep the memory of larger ones.
const mostSpare = 60_000

// NewDecoder returns a decoder. read reads a record into an R that may hold what
// another record left there.
func NewDecoder[R any](read func(context.Context, *kgo.Record, *R) error) *Decoder[R] {
	return &Decoder[R]{read: read}
}

// Decode reads records in their order. Those that are invalid are the poison;
// any other error is the whole's. It is fatal if the registry knows the schema of
// none of the records: see event.ErrUnknownSchema.
func (d *Decoder[R]) Decode(ctx context.Context, records []*kgo.Record) ([]*R, Poison, error) {
	rows := make([]*R, 0, len(records))
	var bad Poison
	var unsure []*kgo.Record // until others of the block have been read
	for _, rec := range records {
		r := d.row()
		switch err := d.read(ctx, rec, r); {
		case errors.Is(err, event.ErrInvalid):
			bad = append(bad, poisoned{rec, err})
		case errors.Is(err, event.ErrUnknownSchema):
			unsure = append(unsure, rec)
		case err != nil:
			return nil, nil, fmt.Errorf("%s/%d/%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		default:
			rows = append(rows, r)
		}
	}
	for _, rec := range unsure {
		reason, err := Judge(rec, d.read(ctx, rec, d.row()))
		if err != nil {
			return nil, nil, err
		}
		bad = append(bad, poisoned{rec, reason})
	}
	return rows, bad, nil
}

// Judge says of a record whose schema was unknown (event.ErrUnknownSchema), and
// which was read again after the others of its block, why it is invalid. The error
// is fatal if that still cannot be said.
func Judge(r *kgo.Record, again error) (invalid, err error) {
	switch {
	case errors.Is(again, event.ErrInvalid):
		return again, nil
	case errors.Is(again, event.ErrUnknownSchema):
		return nil, fmt.Errorf("%w: %s/%d/%d: %w", ErrFatal, r.Topic, r.Partition, r.Offset, again)
	case again == nil: // the registry has learnt it meanwhile
		again = errors.New("its schema is known now: read the block again")
	}
	return nil, fmt.Errorf("%s/%d/%d: %w", r.Topic, r.Partition, r.Offset, again)
}

// row is one that was given back, or a new one.
func (d *Decoder[R]) row() *R {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := len(d.spare) - 1
	if last < 0 {
		return new(R)
	}
	r := d.spare[last]
	d.spare = d.spare[:last]
	return r
}

// GiveBack lets rows be overwritten: each of them once, and nobody may look at
// them, or at what they point to, any more.
func (d *Decoder[R]) GiveBack(rows []*R) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spare = append(d.spare, rows[:min(len(rows), mostSpare-len(d.spare))]...)
}
