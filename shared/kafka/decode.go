package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// Records are the records themselves.
func (v Invalid) Records() []*kgo.Record {
	records := make([]*kgo.Record, len(v))
	for i := range v {
		records[i] = v[i].record
	}
	return records
}

// Decoder decodes records, each into an R, and reuses the memory of those that were
// recycled: a row is dozens of small allocations, which took a sink a fifth of its
// time.
type Decoder[R any] struct {
	read func(context.Context, *kgo.Record, *R) error

	mu    sync.Mutex
	spare []*R // recycled, at most maxSpare
}

// maxSpare is a little more than two blocks of a bulk job: a function that has worked
// off a backlog does not keep the memory of larger blocks.
const maxSpare = 60_000

// NewDecoder returns a decoder. read decodes a record into an R that may still hold
// the values of another record.
func NewDecoder[R any](read func(context.Context, *kgo.Record, *R) error) *Decoder[R] {
	return &Decoder[R]{read: read}
}

// Decode decodes records in order, and returns the invalid ones apart. Any other
// error of a record is returned for all. It is fatal if the registry knows the schema
// of no record of the block: see event.ErrUnknownSchema.
func (d *Decoder[R]) Decode(ctx context.Context, records []*kgo.Record) ([]*R, Invalid, error) {
	rows := make([]*R, 0, len(records))
	var invalid Invalid
	var unsure []*kgo.Record // until the others of the block have been read
	for _, rec := range records {
		r := d.row()
		switch err := d.read(ctx, rec, r); {
		case errors.Is(err, event.ErrInvalid):
			invalid = append(invalid, invalidRecord{rec, err})
		case errors.Is(err, event.ErrUnknownSchema):
			unsure = append(unsure, rec)
		case err != nil:
			return nil, nil, fmt.Errorf("%s/%d/%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		default:
			rows = append(rows, r)
		}
	}
	for _, rec := range unsure {
		reason, err := InvalidReason(rec, d.read(ctx, rec, d.row()))
		if err != nil {
			return nil, nil, err
		}
		invalid = append(invalid, invalidRecord{rec, reason})
	}
	return rows, invalid, nil
}

// InvalidReason returns why a record is invalid whose schema was unknown
// (event.ErrUnknownSchema) and which was then read again, after the others of its
// block, with readErr. The error is fatal if the schema is still unknown.
func InvalidReason(r *kgo.Record, readErr error) (invalid, err error) {
	switch {
	case errors.Is(readErr, event.ErrInvalid):
		return readErr, nil
	case errors.Is(readErr, event.ErrUnknownSchema):
		return nil, fmt.Errorf("%w: %s/%d/%d: %w", ErrFatal, r.Topic, r.Partition, r.Offset, readErr)
	case readErr == nil: // the schema was registered meanwhile
		readErr = errors.New("its schema is known now: read the block again")
	}
	return nil, fmt.Errorf("%s/%d/%d: %w", r.Topic, r.Partition, r.Offset, readErr)
}

// row returns a recycled row, or a new one.
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

// Recycle allows rows to be overwritten. Each may be recycled once, and neither it
// nor what it points to may be used afterwards.
func (d *Decoder[R]) Recycle(rows []*R) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spare = append(d.spare, rows[:min(len(rows), maxSpare-len(d.spare))]...)
}
