package fetchorg

import (
	"context"
	"time"
)

// clock is the function's time: the real one, or, for tests against the
// emulator, one that runs scale times as fast.
//
// It times calls of GitHub and a handler's limits. Leases and calls of Kafka and
// Redis use real time.
type clock struct {
	now   func() time.Time
	scale float64 // 1 is real time
}

// newClock returns a clock that shows the real time at origin and runs scale times
// as fast from then on.
func newClock(origin time.Time, scale float64) clock {
	return clock{scale: scale, now: func() time.Time {
		return origin.Add(time.Duration(float64(time.Since(origin)) * scale))
	}}
}

// real converts a duration of this clock to real time.
func (c clock) real(d time.Duration) time.Duration { return time.Duration(float64(d) / c.scale) }

func (c clock) since(t time.Time) time.Duration { return c.now().Sub(t) }

// after fires when d has passed.
func (c clock) after(d time.Duration) <-chan time.Time { return time.After(c.real(d)) }

// within ends a context when d has passed.
func (c clock) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.real(d))
}

// left is how long a context has until its deadline; an hour if it has none.
func (c clock) left(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Hour
	}
	return time.Duration(float64(time.Until(deadline)) * c.scale)
}
