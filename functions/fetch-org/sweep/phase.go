package sweep

import (
	"context"
	"errors"
	"time"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// A phase is what a sweep does next. It follows from the checkpoint alone, so that
// any handler can go on where another stopped.
type phase int

// The phases, in order. A sweep goes back to readingMissing when a later phase has
// found something missing.
const (
	identifying    phase = iota // find out what the owner is
	readingNames                // ask for the repositories that are listed by name
	readingList                 // read the list of the owner's repositories
	comparing                   // note as missing what earlier sweeps saw and this one did not
	readingMissing              // ask for what is missing by id
	readingAgain                // list once more, by ids alone
	over
)

func (p phase) String() string {
	return [...]string{"identify", "read names", "read list", "compare", "read missing", "read again", "over"}[p]
}

// The attributes of a sweep's spans.
const (
	attrSweep = "m7pulse.sweep"
	attrOwner = "m7pulse.owner"
)

// phase is what comes next.
func (a *attempt) phase() phase {
	cp := a.cp
	switch {
	case cp.OwnerType == "":
		return identifying
	case !cp.Exhausted && len(a.owner.Repos) > 0:
		return readingNames
	case !cp.Exhausted:
		return readingList
	case !cp.Compared:
		return comparing
	case cp.missing > 0:
		return readingMissing
	case !cp.SecondPassDone && (cp.SecondPassCursor != "" || a.incomplete()):
		return readingAgain
	}
	return over
}

// step takes the sweep one page further. What it reads is durable in Kafka
// before the checkpoint moves: after a crash in between the page is read again,
// which gives further observations of the same repositories, each true.
//
// It returns false when the sweep is over. githubCtx ends earlier than ctx: a page
// that is not answered by then is left to the next attempt.
func (s *Sweeper) step(ctx, githubCtx context.Context, a *attempt) (more bool, err error) {
	next := a.phase()
	if next == over {
		return false, nil
	}
	ctx, span := trace.Start(ctx, trace.Internal, next.String(), attrOwner, a.request.Login, attrSweep, a.request.SweepID)
	defer func() {
		if wait := (*github.RateLimitedError)(nil); errors.As(err, &wait) { // nothing has failed
			span.Set("m7pulse.waits", time.Until(wait.Until))
			span.End(nil)
			return
		}
		span.End(err)
	}()
	githubCtx = span.In(githubCtx)
	switch next {
	case identifying:
		err = s.identify(ctx, githubCtx, a)
	case readingNames:
		err = s.readNames(ctx, githubCtx, a)
	case readingList:
		err = s.readList(ctx, githubCtx, a)
	case comparing:
		err = s.compare(ctx, a)
	case readingMissing:
		err = s.readMissing(ctx, githubCtx, a)
	case readingAgain:
		err = s.readAgain(ctx, githubCtx, a)
	}
	return true, err
}
