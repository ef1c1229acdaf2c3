package sinkclickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/lease"
)

// leaseKey is the right to write what is in the partitions of one number,
// of whatever topic: one writer at a time.
func leaseKey(partition int32) string {
	return "github:pipeline:writer:{sink-clickhouse}:" + strconv.Itoa(int(partition))
}

const (
	leaseTTL = 10 * time.Second
	// insertGrace is how long after its lease has ended a dead writer's last insert
	// may still land: the time it may be on its way, the time ClickHouse may take, and
	// a margin for clocks.
	insertGrace = arrivalLimit + insertLimit + 2*time.Second
)

// writer is this process's right to write. ClickHouse has no compare-and-set by
// which it could refuse a zombie, so a new writer waits until the last insert
// of the one before it can no longer land.
type writer struct {
	redis redis.UniversalClient
	store *store

	mu              sync.Mutex
	leases          map[int32]partitionLease
	work            context.Context // ends when a lease is lost
	lost            context.CancelCauseFunc
	unansweredUntil time.Time // until then a statement that was not answered may still land
}

// partitionLease is the lease of one partition.
type partitionLease struct {
	*lease.Lease
	stop func()
}

// acquireAll makes this process the only writer of some partitions. It waits for as
// long as an insert of a predecessor, or one of its own that was not answered, may
// still be executed. Leases are taken in the order of the partitions,
// so that two writers never wait for each other.
func (w *writer) acquireAll(ctx context.Context, partitions []int32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leases == nil || w.work.Err() != nil {
		if err := w.releaseAll(); err != nil {
			return err
		}
		w.leases = map[int32]partitionLease{}
		w.work, w.lost = context.WithCancelCause(context.WithoutCancel(ctx))
	}
	var acquired []*lease.Lease
	for _, p := range slices.Sorted(slices.Values(partitions)) {
		if _, ok := w.leases[p]; ok {
			continue
		}
		l, err := w.acquire(ctx, leaseKey(p))
		if err != nil {
			return errors.Join(err, w.releaseAll())
		}
		work, stop := l.Keep(w.work)
		unhook := context.AfterFunc(work, func() { w.lost(context.Cause(work)) })
		w.leases[p] = partitionLease{l, func() { unhook(); stop() }}
		acquired = append(acquired, l)
	}
	if err := w.waitForEarlierInserts(ctx, acquired); err != nil {
		return errors.Join(err, w.releaseAll())
	}
	return nil
}

func (w *writer) acquire(ctx context.Context, key string) (*lease.Lease, error) {
	for said := false; ; said = true {
		l, err := lease.Acquire(ctx, w.redis, key, leaseTTL)
		var other *lease.Held
		if !errors.As(err, &other) {
			return l, err
		}
		if !said {
			slog.Info("waiting for another writer's lease", "lease", key)
		}
		select {
		case <-time.After(min(other.Remaining+10*time.Millisecond, time.Second)):
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the writer's lease: %w", err)
		}
	}
}

// waitForEarlierInserts waits until no insert of an earlier writer can land any more, nor one
// of this. One that released its lease had none under way. If Redis remembers
// nobody, there was none only if ClickHouse has no markers either.
func (w *writer) waitForEarlierInserts(ctx context.Context, acquired []*lease.Lease) error {
	var last time.Time
	unknown := false
	for _, l := range acquired {
		until, known := l.Predecessor()
		unknown = unknown || !known
		if until.After(last) {
			last = until
		}
	}
	if unknown {
		var markers uint64 // those that a rebuild has put aside are markers too
		if err := w.store.conn.QueryRow(ctx, "SELECT sum(total_rows) FROM system.tables WHERE database = 'pulse' AND name IN ('sink_commits', 'old_sink_commits')").Scan(&markers); err != nil {
			return fmt.Errorf("look for markers: %w", err)
		}
		if markers > 0 {
			last = time.Now().Add(leaseTTL)
		}
	}
	until := w.unansweredUntil
	if !last.IsZero() && last.Add(insertGrace).After(until) {
		until = last.Add(insertGrace)
	}
	wait := time.Until(until)
	if wait <= 0 {
		return nil
	}
	slog.Info("waiting until an unanswered insert can no longer land", "wait", wait)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until no earlier insert can land: %w", ctx.Err())
	}
}

// write runs statements that end when a lease does.
func (w *writer) write(ctx context.Context, statements func(context.Context) error) error {
	ctx, cancel, err := w.fence(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	err = statements(ctx)
	w.noteFailure(err)
	return err
}

// noteFailure notes that a statement failed. One that ClickHouse did not answer may
// still be executed: until it cannot, acquireAll waits and no lease is released.
func (w *writer) noteFailure(err error) {
	var answer *clickhouse.Exception
	var dialed *net.OpError
	if err == nil || errors.As(err, &answer) || errors.As(err, &dialed) && dialed.Op == "dial" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unansweredUntil = time.Now().Add(insertGrace)
}

// fence returns a context for inserts: it ends when the lease does.
func (w *writer) fence(ctx context.Context) (context.Context, context.CancelFunc, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.leases) == 0 {
		return nil, nil, errors.New("no writer's lease")
	}
	if w.work.Err() != nil {
		return nil, nil, fmt.Errorf("writer's lease: %w", context.Cause(w.work))
	}
	fenced, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(w.work, func() { cancel(context.Cause(w.work)) })
	return fenced, func() { stop(); cancel(nil) }, nil
}

// release releases the leases, so that a successor need not wait. While a
// statement that was not answered may still land, they expire instead.
func (w *writer) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.releaseAll()
}

func (w *writer) releaseAll() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, h := range w.leases {
		h.stop()
		if time.Now().Before(w.unansweredUntil) {
			continue // it expires, and a successor waits
		}
		if e := h.Release(ctx); !errors.Is(e, lease.ErrLost) {
			err = errors.Join(err, e)
		}
	}
	if w.leases != nil {
		w.lost(context.Canceled)
		w.leases = nil
	}
	return err
}
