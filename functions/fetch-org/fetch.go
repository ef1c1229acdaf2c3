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
	// leaseTTL is how long an owner waits for a crashed fetcher's successor.
	leaseTTL = 10 * time.Second
	// No page is begun that would probably end after budget; at cutoff GitHub
	// is waited for no longer. The rest of the 20 s that a handler has is for
	// handing over.
	budget = 15 * time.Second
	cutoff = 17 * time.Second
	// A handler that finds no room, or has to wait, goes on after this no more: it
	// would not have the time for a page.
	patience = 4 * time.Second
	// between is the least time from one request for a part of a sweep to the
	// next, since each costs a lease, a record and some calls of Redis.
	between = 2 * time.Second
	// soon is a pause that handlers wait for, one after the other. What is
	// further off is left to a wake.
	soon = time.Minute
	// The pauses between the attempts at one page, of which jitter takes up to a half.
	firstPause = 2 * apart
	longPause  = 8 * time.Second
	// The pauses of a sweep whose handlers get nowhere.
	firstSetback = 15 * time.Second
	longSetback  = 10 * time.Minute
)

func lockKey(login string) string { return "github:pipeline:lock:" + login }

// errand is the fetching of one owner in one sweep, as far as one handler takes
// it, under one lease.
type errand struct {
	request event.FetchRequested
	owner   Owner // as it is listed
	token   int64
	cp      *checkpoint
	visit   visit // its cost is not yet in the ledger line
	began   time.Time
	read    int           // pages read by this handler
	slowest time.Duration // of them
	tries   int           // that failed since
}

// fetch does a part of one owner's sweep, and asks for the next part when the
// sweep is not over.
func (s *sweeper) fetch(ctx context.Context, r event.FetchRequested) error {
	began := s.now()
	if len(s.github.tokens.each) == 0 {
		return errNoToken
	}
	if err := s.admit(ctx, r); err != nil {
		return err
	}
	select { // GitHub bans who asks too much at once
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.after(patience):
		return s.request(ctx, r, "queued@"+began.UTC().Format(time.RFC3339))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	held, err := lease.Acquire(ctx, s.rdb, lockKey(r.Login), leaseTTL)
	var other *lease.Held
	if errors.As(err, &other) {
		return s.leaveTo(ctx, r, other)
	}
	if err != nil {
		return err
	}
	work, stop := held.Keep(ctx)
	w := &errand{request: r, token: held.Token(), began: began}
	more, err := s.advance(work, w)
	if lost := context.Cause(work); err != nil && errors.Is(lost, lease.ErrLost) {
		err = fmt.Errorf("fetch %s: %w", member(r), lost)
	}
	stop()
	// Released before the next part is asked for, which would otherwise find
	// the owner taken.
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if e := held.Release(releasing); e != nil {
		slog.Warn("the owner stays locked until the lease expires", "owner", r.Login, "error", e)
	}
	if err != nil || !more {
		return err
	}
	s.pause(ctx, between-s.since(began))
	return s.request(ctx, r, fmt.Sprintf("part@%d", w.token))
}

// admit makes the sweep known, unless it is so old that nothing would be known
// of its end.
func (s *sweeper) admit(ctx context.Context, r event.FetchRequested) error {
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

// leaveTo answers a request while another fetches the owner. If that is for
// this very sweep, or nothing may be done now, the request has served its
// purpose.
func (s *sweeper) leaveTo(ctx context.Context, r event.FetchRequested, other *lease.Held) error {
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
// the next part is to be asked for.
func (s *sweeper) advance(ctx context.Context, w *errand) (more bool, err error) {
	if w.cp, err = s.sweeps.claim(ctx, w.request, w.token); err != nil {
		return false, err
	}
	w.visit.barred = w.cp.Barred
	if w.cp.closed() {
		return false, s.publish(ctx, w)
	}
	if err := s.supersede(ctx, w); err != nil {
		return false, err
	}
	if w.owner, err = s.owners.Get(ctx, w.request.Login); err != nil {
		return false, err
	}
	switch {
	case w.owner.Removed:
		return false, s.end(ctx, w, event.StatusIncomplete, "the owner was removed")
	case s.stale(w.request):
		return false, s.end(ctx, w, event.StatusIncomplete, fmt.Sprintf("not finished within %s", s.maxAge))
	case -s.since(w.cp.NotBefore) > soon:
		return false, nil
	case s.now().Before(w.cp.NotBefore) && !s.await(ctx, w, w.cp.NotBefore):
		return true, nil
	}
	if w.cp.Line.StartedAt.IsZero() {
		w.cp.Line.StartedAt = s.now().UTC().Truncate(time.Millisecond)
	}
	w.cp.Worker = w.token
	if err := s.save(ctx, w, progress{}); err != nil {
		return false, err
	}
	return s.pages(ctx, w)
}

// pages reads page after page, until there is no more to do, the time is up, or
// GitHub wants a pause.
func (s *sweeper) pages(ctx context.Context, w *errand) (more bool, err error) {
	asking, cancel := s.within(ctx, cutoff-s.since(w.began))
	defer cancel()
	for {
		if s.since(w.began)+w.slowest > budget || s.stopping() {
			return true, s.handOver(ctx, w, s.now())
		}
		asked := s.now()
		more, err := s.step(ctx, asking, w)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		var (
			wait *limited
			bad  *broken
			no   *refused
		)
		switch {
		case err == nil && !more:
			return false, s.settle(ctx, w)
		case err == nil:
			w.read++
			w.slowest = max(w.slowest, s.since(asked))
			w.tries, w.cp.Setbacks, w.cp.RefusedAt = 0, 0, time.Time{}
		case errors.As(err, &wait):
			if -s.since(wait.until) > soon || !s.await(ctx, w, wait.until) {
				return s.leave(ctx, w, wait.until)
			}
		case errors.As(err, &bad):
			pause := backoff(w.tries)
			w.tries++
			w.cp.Failures++
			slog.Warn("GitHub did not answer for a page", "owner", w.request.Login, "try", w.tries, "pause", pause, "error", err)
			if s.since(w.began)+pause+w.slowest > budget {
				return s.setBack(ctx, w, pause)
			}
			s.pause(ctx, pause)
		case errors.As(err, &no):
			return s.turnedAway(ctx, w, no, err)
		case asking.Err() != nil: // the page was begun too late
			return true, s.handOver(ctx, w, s.now().Add(apart))
		case errors.Is(err, errUnknownOwner) && w.cp.Line.Pages == 0:
			return false, s.end(ctx, w, event.StatusUnknownOwner, errUnknownOwner.Error())
		case errors.Is(err, errUnknownOwner):
			return false, s.end(ctx, w, event.StatusIncomplete, "the owner vanished during the sweep")
		default:
			return false, err
		}
	}
}

// await waits for a time, as long as this handler may, and a moment at least: who
// finds no room at once would not find it either if he asked again at once. It
// says whether the time has come and there is enough left for a page.
func (s *sweeper) await(ctx context.Context, w *errand, until time.Time) bool {
	s.pause(ctx, min(max(-s.since(until), apart), budget-s.since(w.began)))
	return !s.now().Before(until) && s.since(w.began) <= patience
}

// setBack ends a handler that GitHub did not answer. After a page or more it is
// worth going on after a short pause; else a wake will, later each time.
func (s *sweeper) setBack(ctx context.Context, w *errand, pause time.Duration) (more bool, err error) {
	if w.read > 0 {
		return s.leave(ctx, w, s.now().Add(pause))
	}
	until := s.now().Add(w.cp.setback())
	slog.Info("a sweep pauses", "owner", w.request.Login, "until", until)
	return false, s.handOver(ctx, w, until)
}

// turnedAway ends a handler whom GitHub answers with no token. It may answer the
// next: the sweep fails when that has lasted.
func (s *sweeper) turnedAway(ctx context.Context, w *errand, no *refused, err error) (more bool, _ error) {
	if w.cp.RefusedAt.IsZero() {
		w.cp.RefusedAt = s.now()
	}
	if s.since(w.cp.RefusedAt) >= refusedFor {
		slog.Error("an owner cannot be fetched", "owner", w.request.Login, "refused_since", w.cp.RefusedAt, "error", err)
		return false, s.end(ctx, w, event.StatusFailed, err.Error())
	}
	until := s.now().Add(w.cp.setback())
	if until.Before(no.until) {
		until = no.until
	}
	w.visit.barred = nil // all are tried again
	slog.Warn("GitHub answers with no token", "owner", w.request.Login, "until", until, "error", err)
	return s.leave(ctx, w, until)
}

// leave hands the sweep over until a time. One that is soon is waited for by the
// handler of the next part; any other, by the wakes.
func (s *sweeper) leave(ctx context.Context, w *errand, until time.Time) (more bool, err error) {
	more = -s.since(until) <= soon
	if !more {
		slog.Info("a sweep pauses", "owner", w.request.Login, "until", until)
	}
	return more, s.handOver(ctx, w, until)
}

// setback is the next pause of a sweep whose handlers get nowhere: doubled each
// time, of which jitter takes up to a half.
func (c *checkpoint) setback() time.Duration {
	pause := min(firstSetback<<min(c.Setbacks, 10), longSetback)
	c.Setbacks++
	return pause/2 + rand.N(pause/2)
}

// handOver says in the checkpoint that nobody is at it any more, and from when
// on the next may be.
func (s *sweeper) handOver(ctx context.Context, w *errand, notBefore time.Time) error {
	w.cp.Worker, w.cp.NotBefore = 0, notBefore
	return s.save(ctx, w, progress{})
}

func (s *sweeper) save(ctx context.Context, w *errand, p progress) error {
	w.visit.charge(&w.cp.Line)
	w.cp.Barred = w.visit.barred
	return s.sweeps.save(ctx, w.request, w.token, w.cp, p)
}

// pause waits, but no longer than the function lives.
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
	d := min(firstPause<<min(failures, 10), longPause)
	return d/2 + rand.N(d/2)
}
