package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// bulkPatience is how long a bulk job goes on trying while nothing succeeds, and
// blocks do not become smaller.
const bulkPatience = 2 * time.Minute

// DrainAll starts the drain and returns when all that stands in its topics now is
// durable. It is safe to end and to repeat at any point.
func (d *Drain) DrainAll(ctx context.Context) error {
	target, err := d.ends(ctx)
	if err != nil {
		return err
	}
	d.Start()
	return d.Await(ctx, func(context.Context) (bool, error) { return d.Covered().Reach(target), nil })
}

// Await returns once done says so. It gives up when done or the drain has been
// failing for 2 minutes without a break, at blocks of one size.
func (d *Drain) Await(ctx context.Context, done func(context.Context) (bool, error)) error {
	var failing time.Time
	last, _ := d.size.limit()
	for {
		size, _ := d.size.limit()
		if size < last {
			failing = time.Time{}
		}
		last = size
		reached, err := done(ctx)
		if err == nil && reached {
			return nil
		}
		err = errors.Join(err, d.Err())
		switch {
		case errors.Is(err, ErrFatal):
			return err
		case err == nil:
			failing = time.Time{}
		case failing.IsZero():
			failing = time.Now()
		case time.Since(failing) > bulkPatience:
			return fmt.Errorf("gave up after %s: %w", bulkPatience, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
