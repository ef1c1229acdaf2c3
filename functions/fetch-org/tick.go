package fetchorg

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve"
)

func (s *sweeper) tick(ctx context.Context, e cloudevents.Event) error {
	do, err := serve.Tick(e)
	if err != nil {
		return err
	}
	at := e.Time()
	if at.IsZero() {
		at = s.now()
	}
	switch do {
	case "sweep":
		return s.sweep(ctx, at)
	case "wake":
		return s.wake(ctx)
	}
	return event.Invalid("unknown action %q of a tick: want \"sweep\" or \"wake\"", do)
}

// sweep requests a sweep of every owner. The sweeps are registered first, so that a
// wake finds those whose requests get lost. An owner whose sweep failed in this
// same period is swept again, named by the tick's minute.
func (s *sweeper) sweep(ctx context.Context, at time.Time) error {
	if len(s.github.tokens.each) == 0 {
		return errNoToken
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

// wake requests every open sweep again that may go on now. Where a handler is at
// it already, the request does nothing.
func (s *sweeper) wake(ctx context.Context) error {
	open, err := s.sweeps.unpublished(ctx)
	if err != nil || len(open) == 0 {
		return err
	}
	if len(s.github.tokens.each) == 0 {
		return errNoToken
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
		case cp == nil || cp.closed() || !s.now().Before(cp.NotBefore):
			due = append(due, open[i])
		}
	}
	return s.send(ctx, due, "wake@"+s.now().UTC().Format(time.RFC3339))
}

// request requests the next part of a sweep; part distinguishes it from the other
// requests of that sweep.
func (s *sweeper) request(ctx context.Context, r event.FetchRequested, part string) error {
	return s.send(ctx, []event.FetchRequested{r}, part)
}

func (s *sweeper) send(ctx context.Context, requests []event.FetchRequested, part string) error {
	records := make([]*kgo.Record, len(requests))
	for i := range requests {
		r, err := s.codec.Record(ctx, &requests[i], false)
		if err != nil {
			return err
		}
		if part != "" {
			setID(r, event.Header(r, "ce_id")+"#"+part)
		}
		records[i] = r
	}
	if err := s.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("publish %d fetch requests: %w", len(requests), err)
	}
	return nil
}

// setID gives a record an id other than the one that follows from its content.
func setID(r *kgo.Record, id string) {
	for i := range r.Headers {
		if r.Headers[i].Key == "ce_id" {
			r.Headers[i].Value = []byte(id)
		}
	}
}
