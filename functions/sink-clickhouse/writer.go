package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/lease"
)

// leaseKey is the right to write to ClickHouse: one writer at a time.
const leaseKey = "github:pipeline:writer:{sink-clickhouse}"

const (
	leaseTTL = 10 * time.Second
	// landing is how long after its lease has ended a dead writer's last insert
	// may still land: the insert's own limit, and what the network may add.
	landing = insertLimit + 2*time.Second
)

// writer is this process's right to write. ClickHouse has no compare-and-set by
// which it could refuse a zombie, so a new writer waits until the last insert
// of the one before it can no longer land.
type writer struct {
	redis redis.UniversalClient
	store *store

	mu   sync.Mutex
	held *lease.Lease
	work context.Context // ends when the lease is lost
	stop func()
}

// take makes sure that this process is the only writer, and waits for as long
// as a predecessor may still be at it.
func (w *writer) take(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil && w.work.Err() == nil {
		return nil
	}
	l, err := w.acquire(ctx)
	if err != nil {
		return err
	}
	work, stop := l.Keep(context.WithoutCancel(ctx))
	if err := w.outlive(ctx, l); err != nil {
		stop()
		return errors.Join(err, l.Release(context.WithoutCancel(ctx)))
	}
	w.held, w.work, w.stop = l, work, stop
	return nil
}

func (w *writer) acquire(ctx context.Context) (*lease.Lease, error) {
	for {
		l, err := lease.Acquire(ctx, w.redis, leaseKey, leaseTTL)
		var held *lease.Held
		if !errors.As(err, &held) {
			return l, err
		}
		slog.Info("another writer holds the lease", "remaining", held.Remaining)
		select {
		case <-time.After(min(held.Remaining+10*time.Millisecond, time.Second)):
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the writer's lease: %w", err)
		}
	}
}

// outlive waits until no insert of an earlier writer can land any more. One that
// released its lease had none under way. If Redis remembers nobody, there was
// none only if ClickHouse has no markers either.
func (w *writer) outlive(ctx context.Context, l *lease.Lease) error {
	until, known := l.Predecessor()
	switch {
	case known && until.IsZero():
		return nil
	case !known:
		var markers uint64
		if err := w.store.conn.QueryRow(ctx, "SELECT count() FROM pulse.sink_commits").Scan(&markers); err != nil {
			return fmt.Errorf("look for markers: %w", err)
		}
		if markers == 0 {
			return nil
		}
		until = time.Now().Add(leaseTTL)
	}
	wait := time.Until(until.Add(landing))
	if wait <= 0 {
		return nil
	}
	slog.Info("the writer before did not take its leave: waiting until none of its inserts can land", "wait", wait)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer before: %w", ctx.Err())
	}
}

// fence returns a context for inserts: it ends when the lease does.
func (w *writer) fence(ctx context.Context) (context.Context, context.CancelFunc, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		return nil, nil, errors.New("no writer's lease")
	}
	if w.work.Err() != nil {
		return nil, nil, fmt.Errorf("writer's lease: %w", context.Cause(w.work))
	}
	fenced, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(w.work, func() { cancel(context.Cause(w.work)) })
	return fenced, func() { unhook(); cancel(nil) }, nil
}

// leave gives the lease back, so that a successor need not wait.
func (w *writer) leave() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		return nil
	}
	w.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := w.held.Release(ctx)
	w.held = nil
	if errors.Is(err, lease.ErrLost) {
		return nil
	}
	return err
}
