package replay

import (
	"context"
	"errors"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

// flushEvery is how many events are sent between two flushes.
const flushEvery = 5_000

// Target is where events go.
type Target interface {
	// Send sends an event; one that is refused for good fails with *Refused.
	Send(ctx context.Context, e cloudevents.Event) error
	// Flush returns once all that was sent is durable.
	Flush(ctx context.Context) error
}

// File says what of a file goes where.
type File struct {
	Path string
	Skip int // events at its beginning that are safe already
	Pace *Pace
	Span Span
	To   Target
	// Durable, if given, is called with how many of the file's events are safe.
	Durable func(at int) error
	// Refused is called for each event that is refused for good; without it, the
	// first ends the sending.
	Refused func(error)
	// Sent, if given, is called after each event that was sent.
	Sent func()
}

// Send sends the file's events in their order and returns how many.
func (f File) Send(ctx context.Context) (sent int, err error) {
	flush := func(at int) error {
		if err := f.To.Flush(ctx); err != nil {
			return err
		}
		if f.Durable != nil {
			return f.Durable(at)
		}
		return nil
	}
	at := 0
	for e, err := range Read(f.Path) {
		if at++; at <= f.Skip {
			continue
		}
		took := false
		if err == nil {
			if took, err = f.Span.Has(e); took {
				if err := f.Pace.Wait(ctx, e); err != nil {
					return sent, errors.Join(err, f.To.Flush(context.WithoutCancel(ctx)))
				}
				err = f.To.Send(ctx, e)
			}
		}
		var refused *Refused
		switch {
		case err == nil:
		case f.Refused != nil && errors.As(err, &refused):
			f.Refused(err)
			took = false
		default:
			return sent, errors.Join(err, flush(at-1))
		}
		if took {
			sent++
			if f.Sent != nil {
				f.Sent()
			}
		}
		if at%flushEvery == 0 {
			if err := flush(at); err != nil {
				return sent, err
			}
		}
	}
	return sent, flush(at)
}
