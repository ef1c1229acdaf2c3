package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/lease"
	"github.com/m7pulse/m7pulse/shared/trace"
)

const (
	// No page is begun that would probably end after pageDeadline, and no answer
	// is waited for after answerDeadline. The rest of a handler's 20 s is for
	// releasing the sweep to the next one.
	pageDeadline   = 15 * time.Second
	answerDeadline = 17 * time.Second
	// A handler that has waited for longer than maxQueueWait does not go on: it
	// would have no time for a page.
	maxQueueWait = 4 * time.Second
	// minRequestInterval is the least time from one request for a part of a sweep
	// to the next, since each costs a lease, a record and some calls of Redis.
	minRequestInterval = 2 * time.Second
	// maxHandlerPause is the longest pause that handlers wait for, one after the
	// other. A longer one is left to a wake.
	maxHandlerPause = time.Minute
	// The pauses of a sweep whose attempts make no progress.
	firstSetback = 15 * time.Second
	maxSetback   = 10 * time.Minute
)

// Fetch does a part of one owner's sweep, and requests the next part when the
// sweep is not over.
//
// It is safe to call it any number of times, and at the same time: a request for a
// sweep that is over, or that another handler is at, does nothing; for any other
// sweep it reads on from the checkpoint. The checkpoint moves after Kafka has
// acknowledged a page, and only for the latest holder of the owner's lease.
//
// nil means that what was read is in Kafka, and what remains is either requested in
// Kafka or in the index of open sweeps, where the next RequestOpen finds it. A
// request that can never be served is event.ErrInvalid.
func (s *Sweeper) Fetch(ctx context.Context, r event.FetchRequested) error {
	end, err := s.handlers.Begin()
	if err != nil {
		return err
	}
	defer end()
	began := time.Now()
	r.Login = strings.ToLower(r.Login)
	trace.Current(ctx).Set(attrSweep, r.SweepID, attrOwner, r.Login)
	if err := s.check(r); err != nil {
		return err
	}
	if s.github.Tokens() == 0 {
		return github.ErrNoToken
	}
	if err := s.registerRequest(ctx, r); err != nil {
		return err
	}
	select { // GitHub bans users that ask too much at once
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-time.After(maxQueueWait):
		return s.request(ctx, r, "queued@"+began.UTC().Format(time.RFC3339))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	held, err := lease.Acquire(ctx, s.rdb, lockKey(r.Login), leaseTTL)
	var other *lease.Held
	if errors.As(err, &other) {
		return s.yieldTo(ctx, r, other)
	}
	if err != nil {
		return err
	}
	work, stop := held.Keep(ctx)
	a := &attempt{request: r, token: held.Token(), began: began}
	more, err := s.advance(work, a)
	if lost := context.Cause(work); err != nil && errors.Is(lost, lease.ErrLost) {
		err = fmt.Errorf("fetch %s: %w", member(r), lost)
	}
	stop()
	// Released before the next part is requested, which would otherwise find the
	// owner locked.
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if e := held.Release(releasing); e != nil {
		slog.Warn("release an owner's lease: it expires by itself", "owner", r.Login, "error", e)
	}
	if err != nil || !more {
		return err
	}
	s.pause(ctx, minRequestInterval-time.Since(began))
	return s.request(ctx, r, fmt.Sprintf("part@%d", a.token))
}

// registerRequest adds the sweep to the index, unless it is so old that its
// checkpoint may have expired.
func (s *Sweeper) registerRequest(ctx context.Context, r event.FetchRequested) error {
	if !s.stale(r) {
		return s.sweeps.register(ctx, r)
	}
	known, err := s.sweeps.registered(ctx, r)
	if err != nil {
		return err
	}
	if !known {
		return event.Invalid("sweep %s is over: it is more than %s old", r.SweepID, s.maxAge)
	}
	return nil
}

// yieldTo answers a request while another handler has the owner's lease. If that
// handler is at this very sweep, or nothing may be done now, the request has
// served its purpose.
func (s *Sweeper) yieldTo(ctx context.Context, r event.FetchRequested, other *lease.Held) error {
	all, err := s.sweeps.read(ctx, r)
	if err != nil {
		return err
	}
	if cp := all[0]; cp != nil && (cp.Worker == other.Token || cp.Published || time.Now().Before(cp.NotBefore)) {
		return nil
	}
	return fmt.Errorf("fetch %s: %w", member(r), other)
}

// advance takes the sweep as far as this handler's time allows. more says that
// the next part is to be requested.
func (s *Sweeper) advance(ctx context.Context, a *attempt) (more bool, err error) {
	if a.cp, err = s.sweeps.claim(ctx, a.request, a.token); err != nil {
		return false, err
	}
	a.usage.Denied = a.cp.DeniedUsers
	if a.cp.closed() {
		return false, s.publish(ctx, a)
	}
	if err := s.supersede(ctx, a); err != nil {
		return false, err
	}
	if a.owner, err = s.owners.Get(ctx, a.request.Login); err != nil {
		return false, err
	}
	switch {
	case a.owner.Removed:
		return false, s.end(ctx, a, event.StatusIncomplete, "the owner was removed")
	case s.stale(a.request):
		return false, s.end(ctx, a, event.StatusIncomplete, fmt.Sprintf("not finished within %s", s.maxAge))
	case time.Until(a.cp.NotBefore) > maxHandlerPause:
		return false, nil
	case time.Now().Before(a.cp.NotBefore) && !s.await(ctx, a, a.cp.NotBefore):
		return true, nil
	}
	if a.cp.Line.StartedAt.IsZero() {
		a.cp.Line.StartedAt = time.Now().UTC().Truncate(time.Millisecond)
	}
	a.cp.Worker = a.token
	if err := s.save(ctx, a, progress{}); err != nil {
		return false, err
	}
	return s.pages(ctx, a)
}

// pages reads page after page until the sweep is done, the time is up, or
// GitHub's rate limit is reached.
func (s *Sweeper) pages(ctx context.Context, a *attempt) (more bool, err error) {
	githubCtx, cancel := context.WithTimeout(ctx, answerDeadline-time.Since(a.began))
	defer cancel()
	for {
		if time.Since(a.began)+a.slowest > pageDeadline || s.handlers.Stopped() {
			return true, s.release(ctx, a, time.Now())
		}
		asked := time.Now()
		more, err := s.step(ctx, githubCtx, a)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		var (
			wait *github.RateLimitedError
			bad  *github.NoAnswerError
			no   *github.RefusedError
		)
		switch {
		case err == nil && !more:
			return false, s.finish(ctx, a)
		case err == nil:
			a.read++
			a.slowest = max(a.slowest, time.Since(asked))
			a.tries, a.cp.Setbacks, a.cp.RefusedAt = 0, 0, time.Time{}
		case errors.As(err, &wait):
			if time.Until(wait.Until) > maxHandlerPause || !s.await(ctx, a, wait.Until) {
				return s.pauseUntil(ctx, a, wait.Until)
			}
		case errors.As(err, &bad):
			pause := github.Backoff(a.tries)
			a.tries++
			a.cp.Failures++
			slog.Warn("GitHub did not answer for a page", "owner", a.request.Login, "try", a.tries, "pause", pause, "error", err)
			if time.Since(a.began)+pause+a.slowest > pageDeadline {
				return s.pauseAfterNoAnswer(ctx, a, pause)
			}
			s.pause(ctx, pause)
		case errors.As(err, &no):
			return s.pauseAfterRefusal(ctx, a, no, err)
		case githubCtx.Err() != nil: // the page was begun too late
			return true, s.release(ctx, a, time.Now().Add(github.MinInterval))
		case errors.Is(err, github.ErrUnknownOwner) && a.cp.Line.Pages == 0:
			return false, s.end(ctx, a, event.StatusUnknownOwner, github.ErrUnknownOwner.Error())
		case errors.Is(err, github.ErrUnknownOwner):
			return false, s.end(ctx, a, event.StatusIncomplete, "the owner vanished during the sweep")
		default:
			return false, err
		}
	}
}

// await waits until a time, as long as this handler may, and for a moment at
// least: asking again at once would find no room either. It says whether the time
// has come and enough is left for a page.
func (s *Sweeper) await(ctx context.Context, a *attempt, until time.Time) bool {
	s.pause(ctx, min(max(time.Until(until), github.MinInterval), pageDeadline-time.Since(a.began)))
	return !time.Now().Before(until) && time.Since(a.began) <= maxQueueWait
}

// pauseAfterNoAnswer ends an attempt that GitHub did not answer. If it has read a
// page, the next one follows after a short pause; if not, a wake goes on, later
// each time.
func (s *Sweeper) pauseAfterNoAnswer(ctx context.Context, a *attempt, pause time.Duration) (more bool, err error) {
	if a.read > 0 {
		return s.pauseUntil(ctx, a, time.Now().Add(pause))
	}
	until := time.Now().Add(a.cp.nextPause())
	slog.Info("a sweep pauses", "owner", a.request.Login, "until", until)
	return false, s.release(ctx, a, until)
}

// pauseAfterRefusal ends an attempt whose tokens were all refused. The next
// attempt may succeed: the sweep fails when this has lasted for github.RefusedFor.
func (s *Sweeper) pauseAfterRefusal(ctx context.Context, a *attempt, no *github.RefusedError, err error) (more bool, _ error) {
	if a.cp.RefusedAt.IsZero() {
		a.cp.RefusedAt = time.Now()
	}
	if time.Since(a.cp.RefusedAt) >= github.RefusedFor {
		slog.Error("an owner cannot be fetched", "owner", a.request.Login, "refused_since", a.cp.RefusedAt, "error", err)
		return false, s.end(ctx, a, event.StatusFailed, err.Error())
	}
	until := time.Now().Add(a.cp.nextPause())
	if until.Before(no.Until) {
		until = no.Until
	}
	a.usage.Denied = nil // all are tried again
	slog.Warn("GitHub refused every token for an owner", "owner", a.request.Login, "until", until, "error", err)
	return s.pauseUntil(ctx, a, until)
}

// pauseUntil releases the sweep until a time. The handler of the next part waits
// for it if it is near enough; otherwise a wake goes on.
func (s *Sweeper) pauseUntil(ctx context.Context, a *attempt, until time.Time) (more bool, err error) {
	more = time.Until(until) <= maxHandlerPause
	if !more {
		slog.Info("a sweep pauses", "owner", a.request.Login, "until", until)
	}
	return more, s.release(ctx, a, until)
}

// release notes in the checkpoint that no attempt is running, and from when on
// the next one may.
func (s *Sweeper) release(ctx context.Context, a *attempt, notBefore time.Time) error {
	a.cp.Worker, a.cp.NotBefore = 0, notBefore
	return s.save(ctx, a, progress{})
}

// nextPause is the next pause of a sweep whose attempts make no progress: doubled
// each time. Jitter takes off up to half.
func (c *checkpoint) nextPause() time.Duration {
	pause := min(firstSetback<<min(c.Setbacks, 10), maxSetback)
	c.Setbacks++
	return pause/2 + rand.N(pause/2)
}
