// Package lease gives one process at a time the right to do something: a key in
// Redis that expires, with a fencing token by which the store of the work
// recognises a process that has lost its lease without noticing.
package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrLost says that the lease has expired or belongs to another process.
var ErrLost = errors.New("the lease is lost")

// Held says that another process holds the lease.
type Held struct {
	Key       string
	Token     int64         // the holder's
	Remaining time.Duration // until it expires, unless the holder renews it
}

func (h *Held) Error() string {
	return fmt.Sprintf("lease %s is held for another %s", h.Key, h.Remaining)
}

// Lease is the right to work under a key until Deadline. It is safe for use by
// several goroutines.
//
// Redis may lose what was written just before a failover or a crash, and two
// holders then overlap. So a lease saves work and gives order; safety comes from
// the token, compared where the work is stored.
type Lease struct {
	rdb         redis.UniversalClient
	key, owner  string
	ttl         time.Duration
	token       int64
	predecessor time.Time
	first       bool

	mu       sync.Mutex
	deadline time.Time
}

// Acquire takes the lease for ttl, or fails with *Held.
func Acquire(ctx context.Context, rdb redis.UniversalClient, key string, ttl time.Duration) (*Lease, error) {
	l := &Lease{rdb: rdb, key: key, owner: rand.Text(), ttl: ttl}
	asked := time.Now()
	answer, err := redis.NewScript(acquire).Run(ctx, rdb, []string{key, fenceKey(key)}, l.owner, ttl.Milliseconds()).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("acquire lease %s: %w", key, err)
	}
	taken, token, ms := answer[0], answer[1], time.Duration(answer[2])*time.Millisecond
	switch taken {
	case held:
		return nil, &Held{Key: key, Token: token, Remaining: ms}
	case takenFirst:
		l.first = true
	case takenOver:
		l.predecessor = time.Now().Add(ms)
	}
	l.token, l.deadline = token, asked.Add(ttl)
	return l, nil
}

// Token is greater than that of every earlier holder of the key, even one that
// Redis has lost, as long as Redis's clock goes forward.
func (l *Lease) Token() int64 { return l.token }

// Deadline is the moment by which the holder must have renewed the lease or have
// stopped; Redis does not give it to another process before.
func (l *Lease) Deadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deadline
}

// Predecessor is the moment until which the holder before this one could
// believe to hold the lease: the zero time if it released it. known is false if
// Redis remembers no holder at all; then either there was none, or Redis lost
// its data and one may still be alive for its ttl.
func (l *Lease) Predecessor() (until time.Time, known bool) { return l.predecessor, !l.first }

// Renew gives the lease its whole ttl again. It fails with ErrLost if it has
// expired or is another's; on any other error the old Deadline still holds.
func (l *Lease) Renew(ctx context.Context) error {
	asked := time.Now()
	kept, err := redis.NewScript(renew).Run(ctx, l.rdb, []string{l.key, fenceKey(l.key)}, l.owner, l.ttl.Milliseconds()).Bool()
	switch {
	case err != nil:
		return fmt.Errorf("renew lease %s: %w", l.key, err)
	case !kept:
		return fmt.Errorf("renew lease %s: %w", l.key, ErrLost)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = asked.Add(l.ttl)
	return nil
}

// Release gives the lease back, so that another process can take it at once. Call it when all
// work under it has ended. It fails with ErrLost if it was no longer held, and
// then leaves the key alone.
func (l *Lease) Release(ctx context.Context) error {
	kept, err := redis.NewScript(release).Run(ctx, l.rdb, []string{l.key, fenceKey(l.key)}, l.owner).Bool()
	switch {
	case err != nil:
		return fmt.Errorf("release lease %s: %w", l.key, err)
	case !kept:
		return fmt.Errorf("release lease %s: %w", l.key, ErrLost)
	}
	return nil
}

// fenceKey is where the token and the last holder's deadline are kept. It has
// no expiry: tokens that started again from 0 would fence nobody. It is in the
// same slot of a cluster as the key: the whole key is its hash tag, unless the key
// has one. Braces that make no hash tag are not supported.
func fenceKey(key string) string {
	if strings.Contains(key, "{") {
		return key + ":token"
	}
	return "{" + key + "}:token"
}
