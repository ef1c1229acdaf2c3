package sweep

import (
	"context"
	"log/slog"
	"time"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/trace"
)

// RequestAll requests a sweep of every listed owner, named by a time cut to the
// period. The sweeps are registered first, so that RequestOpen finds those whose
// requests get lost. An owner whose sweep failed in this same period is swept
// again, named by the minute. It is safe to repeat: one time makes one sweep.
func (s *Sweeper) RequestAll(ctx context.Context, at time.Time) error {
	end, err := s.handlers.Begin()
	if err != nil {
		return err
	}
	defer end()
	if s.github.Tokens() == 0 {
		return github.ErrNoToken
	}
	if err := s.owners.seed(ctx, s.roster); err != nil {
		return err
	}
	owners, err := s.owners.List(ctx)
	if err != nil {
		return err
	}
	if len(owners) == 0 {
		slog.Warn("no owner is listed")
		return nil
	}
	failed, err := s.owners.failures(ctx)
	if err != nil {
		return err
	}
	id, minute := at.UTC().Truncate(s.period).Format(time.RFC3339), at.UTC().Truncate(time.Minute).Format(time.RFC3339)
	trace.Current(ctx).Set(attrSweep, id, "m7pulse.owners", len(owners))
	requests := make([]event.FetchRequested, len(owners))
	for i, o := range owners {
		requests[i] = event.FetchRequested{SweepID: id, Login: o.Login}
		if f, ok := failed[o.Login]; ok && f.SweepID >= id && f.SweepID < minute {
			requests[i].SweepID = minute
		}
		if err := s.check(requests[i]); err != nil {
			return err
		}
	}
	if s.stale(event.FetchRequested{SweepID: id}) {
		return event.Invalid("the tick of %s is too old", id)
	}
	if err := s.sweeps.register(ctx, requests...); err != nil {
		return err
	}
	return s.send(ctx, requests, "")
}

// RequestOpen requests every open sweep again that may go on now. It is safe to
// repeat: where a handler is at a sweep already, the request does nothing.
func (s *Sweeper) RequestOpen(ctx context.Context) error {
	end, err := s.handlers.Begin()
	if err != nil {
		return err
	}
	defer end()
	open, err := s.sweeps.unpublished(ctx)
	if err != nil || len(open) == 0 {
		return err
	}
	if s.github.Tokens() == 0 {
		return github.ErrNoToken
	}
	all, err := s.sweeps.read(ctx, open...)
	if err != nil {
		return err
	}
	var due []event.FetchRequested
	for i, cp := range all {
		switch {
		case cp != nil && cp.Published: // its handler was cut off after that
			if err := s.sweeps.forget(ctx, open[i]); err != nil {
				return err
			}
		case cp == nil || cp.closed() || !time.Now().Before(cp.NotBefore):
			due = append(due, open[i])
		}
	}
	return s.send(ctx, due, "wake@"+time.Now().UTC().Format(time.RFC3339))
}
