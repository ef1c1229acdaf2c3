package lease

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Keep renews the lease in the background until stop is called or ctx ends, and
// returns a context for the work under it. That context ends, with ErrLost as
// its cause, when the lease is lost, and a tenth of the ttl before Deadline when
// Redis cannot be reached, so that work that obeys it has ended before another
// holder can begin. stop waits for the last renewal, so that a Release may follow.
func (l *Lease) Keep(ctx context.Context) (work context.Context, stop func()) {
	work, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.keep(work, cancel)
	}()
	return work, func() {
		cancel(context.Canceled)
		<-done
	}
}

func (l *Lease) keep(work context.Context, cancel context.CancelCauseFunc) {
	// The watchdog uses the clock alone, because a renewal can hang.
	remaining := func() time.Duration { return time.Until(l.Deadline()) - l.ttl/10 }
	var last error
	watchdog := time.AfterFunc(remaining(), func() {
		cancel(fmt.Errorf("%w: %s was not renewed in time", ErrLost, l.key))
	})
	defer watchdog.Stop()
	for {
		pause := l.ttl / 3
		if last != nil {
			pause = l.ttl / 20
		}
		select {
		case <-work.Done():
			return
		case <-time.After(pause):
		}
		last = l.Renew(work)
		switch {
		case last == nil:
			watchdog.Reset(remaining())
		case errors.Is(last, ErrLost):
			cancel(last)
			return
		}
	}
}
