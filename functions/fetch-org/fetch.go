package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/lease"
)

const (
	// leaseTTL is how long an owner stays locked after its handler crashed.
	leaseTTL = 10 * time.Second
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
	// The pauses between tries of one page. Jitter takes off up to half.
	firstPause = 2 * minQuestionInterval
	maxPause   = 8 * time.Second
	// The pauses of a sweep whose attempts make no progress.
	firstSetback = 15 * time.Second
	maxSetback   = 10 * time.Minute
)

func lockKey(login string) string { return "github:pipeline:lock:" + login }

// attempt is what one handler does of one owner's sweep, under one lease.
type attempt struct {
	request event.FetchRequested
	owner   Owner // as it is listed
	token   int64
	cp      *checkpoint
	usage   usage // its cost is not yet in the ledger line
	began   time.Time
	read    int           // pages
	slowest time.Duration // of these pages
	tries   int           // failed ones since the last page
}

// fetch does a part of one owner's sweep, and asks for the next part when the
// sweep is not over.
func (s *sweeper) fetch(ctx context.Context, r event.FetchRequested) error {
	began := s.now()
	if len(s.github.tokens.each) == 0 {
		return errNoToken
	}
	if err := s.registerRequest(ctx, r); err != nil {
		return err
	}
	select { // GitHub bans users that ask too much at once
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.after(maxQueueWait):
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
	s.pause(ctx, minRequestInterval-s.since(began))
	return s.request(ctx, r, fmt.Sprintf("part@%d", a.token))
}

// registerRequest adds the sweep to the index, unless it is so old that its
// checkpoint may have expired.
func (s *sweeper) registerRequest(ctx context.Context, r event.FetchRequested) error {
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
func (s *sweeper) yieldTo(ctx context.Context, r event.FetchRequested, other *lease.Held) error {
	all, err := s.sweeps.read(ctx, r)
	if err != nil {
		return err
	}
	if cp := all[0]; cp != nil && (cp.Worker == other.Token || cp.Published || s.now().Before(cp.NotBefore)) {
		return nil
	}
	return fmt.Errorf("fetch %s: %w", member(r), other)
}

// advance takes the sweep as far as this handler's time allows. more says that
// the next part is to be requested.
func (s *sweeper) advance(ctx context.Context, a *attempt) (more bool, err error) {
	if a.cp, err = s.sweeps.claim(ctx, a.request, a.token); err != nil {
		return false, err
	}
	a.usage.denied = a.cp.DeniedUsers
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
	case -s.since(a.cp.NotBefore) > maxHandlerPause:
		return false, nil
	case s.now().Before(a.cp.NotBefore) && !s.await(ctx, a, a.cp.NotBefore):
		return true, nil
	}
	if a.cp.Line.StartedAt.IsZero() {
		a.cp.Line.StartedAt = s.now().UTC().Truncate(time.Millisecond)
	}
	a.cp.Worker = a.token
	if err := s.save(ctx, a, progress{}); err != nil {
		return false, err
	}
	return s.pages(ctx, a)
}

// pages reads page after page until the sweep is done, the time is up, or
// GitHub's rate limit is reached.
func (s *sweeper) pages(ctx context.Context, a *attempt) (more bool, err error) {
	githubCtx, cancel := s.within(ctx, answerDeadline-s.since(a.began))
	defer cancel()
	for {
		if s.since(a.began)+a.slowest > pageDeadline || s.stopping() {
			return true, s.release(ctx, a, s.now())
		}
		asked := s.now()
		more, err := s.step(ctx, githubCtx, a)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		var (
			wait *rateLimitedError
			bad  *noAnswerError
			no   *refusedError
		)
		switch {
		case err == nil && !more:
			return false, s.finish(ctx, a)
		case err == nil:
			a.read++
			a.slowest = max(a.slowest, s.since(asked))
			a.tries, a.cp.Setbacks, a.cp.RefusedAt = 0, 0, time.Time{}
		case errors.As(err, &wait):
			if -s.since(wait.until) > maxHandlerPause || !s.await(ctx, a, wait.until) {
				return s.pauseUntil(ctx, a, wait.until)
			}
		case errors.As(err, &bad):
			pause := backoff(a.tries)
			a.tries++
			a.cp.Failures++
			slog.Warn("GitHub did not answer for a page", "owner", a.request.Login, "try", a.tries, "pause", pause, "error", err)
			if s.since(a.began)+pause+a.slowest > pageDeadline {
				return s.pauseAfterNoAnswer(ctx, a, pause)
			}
			s.pause(ctx, pause)
		case errors.As(err, &no):
			return s.pauseAfterRefusal(ctx, a, no, err)
		case githubCtx.Err() != nil: // the page was begun too late
			return true, s.release(ctx, a, s.now().Add(minQuestionInterval))
		case errors.Is(err, errUnknownOwner) && a.cp.Line.Pages == 0:
			return false, s.end(ctx, a, event.StatusUnknownOwner, errUnknownOwner.Error())
		case errors.Is(err, errUnknownOwner):
			return false, s.end(ctx, a, event.StatusIncomplete, "the owner vanished during the sweep")
		default:
			return false, err
		}
	}
}

// await waits until a time, as long as this handler may, and for a moment at
// least: asking again at once would find no room either. It says whether the time
// has come and enough is left for a page.
func (s *sweeper) await(ctx context.Context, a *attempt, until time.Time) bool {
	s.pause(ctx, min(max(-s.since(until), minQuestionInterval), pageDeadline-s.since(a.began)))
	return !s.now().Before(until) && s.since(a.began) <= maxQueueWait
}

// pauseAfterNoAnswer ends an attempt that GitHub did not answer. If it has read a
// page, the next one follows after a short pause; if not, a wake goes on, later
// each time.
func (s *sweeper) pauseAfterNoAnswer(ctx context.Context, a *attempt, pause time.Duration) (more bool, err error) {
	if a.read > 0 {
		return s.pauseUntil(ctx, a, s.now().Add(pause))
	}
	until := s.now().Add(a.cp.nextPause())
	slog.Info("a sweep pauses", "owner", a.request.Login, "until", until)
	return false, s.release(ctx, a, until)
}

// pauseAfterRefusal ends an attempt whose tokens were all refused. The next
// attempt may succeed: the sweep fails when this has lasted for refusedFor.
func (s *sweeper) pauseAfterRefusal(ctx context.Context, a *attempt, no *refusedError, err error) (more bool, _ error) {
	if a.cp.RefusedAt.IsZero() {
		a.cp.RefusedAt = s.now()
	}
	if s.since(a.cp.RefusedAt) >= refusedFor {
		slog.Error("an owner cannot be fetched", "owner", a.request.Login, "refused_since", a.cp.RefusedAt, "error", err)
		return false, s.end(ctx, a, event.StatusFailed, err.Error())
	}
	until := s.now().Add(a.cp.nextPause())
	if until.Before(no.until) {
		until = no.until
	}
	a.usage.denied = nil // all are tried again
	slog.Warn("GitHub refused every token for an owner", "owner", a.request.Login, "until", until, "error", err)
	return s.pauseUntil(ctx, a, until)
}

// pauseUntil releases the sweep until a time. The handler of the next part waits
// for it if it is near enough; otherwise a wake goes on.
func (s *sweeper) pauseUntil(ctx context.Context, a *attempt, until time.Time) (more bool, err error) {
	more = -s.since(until) <= maxHandlerPause
	if !more {
		slog.Info("a sweep pauses", "owner", a.request.Login, "until", until)
	}
	return more, s.release(ctx, a, until)
}

// nextPause is the next pause of a sweep whose attempts make no progress: doubled
// each time. Jitter takes off up to half.
func (c *checkpoint) nextPause() time.Duration {
	pause := min(firstSetback<<min(c.Setbacks, 10), maxSetback)
	c.Setbacks++
	return pause/2 + rand.N(pause/2)
}

// release notes in the checkpoint that no attempt is running, and from when on
// the next one may.
func (s *sweeper) release(ctx context.Context, a *attempt, notBefore time.Time) error {
	a.cp.Worker, a.cp.NotBefore = 0, notBefore
	return s.save(ctx, a, progress{})
}

func (s *sweeper) save(ctx context.Context, a *attempt, p progress) error {
	a.usage.moveTo(&a.cp.Line)
	a.cp.DeniedUsers = a.usage.denied
	return s.sweeps.save(ctx, a.request, a.token, a.cp, p)
}

// pause waits, but not beyond the end of ctx or of the function.
func (s *sweeper) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-s.stop:
	case <-s.after(d):
	}
}

// backoff is the pause after a number of failures, doubled each time, with
// jitter, so that handlers that failed together do not come back together.
func backoff(failures int) time.Duration {
	d := min(firstPause<<min(failures, 10), maxPause)
	return d/2 + rand.N(d/2)
}
