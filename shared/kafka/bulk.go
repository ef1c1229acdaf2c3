package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// bulkTimeout is how long a bulk job goes on trying while nothing succeeds and blocks
// do not become smaller.
const bulkTimeout = 2 * time.Minute

// DrainAll starts the drain and returns when what is in its topics now is durable. It
// may be stopped at any point, and is safe to repeat.
func (d *Drain) DrainAll(ctx context.Context) error {
	target, err := d.ends(ctx)
	if err != nil {
		return err
	}
	d.Start()
	return d.Await(ctx, func(context.Context) (bool, error) { return d.Covered().Covers(target), nil })
}

// Await returns once done returns true. It gives up when done or the drain has failed
// for 2 minutes without success, at blocks of one size.
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
		case time.Since(failing) > bulkTimeout:
			return fmt.Errorf("gave up after %s: %w", bulkTimeout, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
