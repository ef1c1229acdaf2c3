package fetchorg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

// settle ends the sweep with the status that its counters earn.
func (s *sweeper) settle(ctx context.Context, w *errand) error {
	line := &w.cp.Line
	line.Unanswered += w.cp.Nulls
	if err := s.memory.complete(ctx, w.request.Login, w.request.SweepID); err != nil {
		return err
	}
	switch {
	case len(w.cp.Unknown) > 0:
		return s.end(ctx, w, event.StatusIncomplete, "GitHub knows no public repository "+strings.Join(w.cp.Unknown, ", "))
	case line.Unanswered > 0:
		return s.end(ctx, w, event.StatusIncomplete, fmt.Sprintf("GitHub did not answer for %d repositories", line.Unanswered))
	case len(w.owner.Repos) == 0 && line.Expected != nil && line.Seen < *line.Expected:
		return s.end(ctx, w, event.StatusIncomplete, fmt.Sprintf("GitHub counts %d repositories and showed %d", *line.Expected, line.Seen))
	}
	return s.end(ctx, w, event.StatusComplete, "")
}

// end closes the sweep. First the line is fixed in the checkpoint, where the
// fence lets only one holder do it; then it is published. A crash in between
// publishes the same line again, under the same id.
func (s *sweeper) end(ctx context.Context, w *errand, status, reason string) error {
	gone, err := s.sweeps.gone(ctx, w.request)
	if err != nil {
		return err
	}
	if err := s.memory.drop(ctx, w.request.Login, gone); err != nil {
		return err
	}
	line := &w.cp.Line
	line.Status = status
	if reason != "" {
		line.Reason = event.Reason(reason)
	}
	line.FinishedAt = s.now().UTC().Truncate(time.Millisecond)
	if line.StartedAt.IsZero() {
		line.StartedAt = line.FinishedAt
	}
	line.Seconds = line.FinishedAt.Sub(line.StartedAt).Seconds()
	if err := s.save(ctx, w, progress{}); err != nil {
		return err
	}
	return s.publish(ctx, w)
}

// publish writes the ledger line of a closed sweep, then takes the sweep out of
// the index.
func (s *sweeper) publish(ctx context.Context, w *errand) error {
	if !w.cp.Published {
		r, err := s.codec.Record(ctx, &w.cp.Line, false)
		if err != nil {
			return fmt.Errorf("ledger line of %s: %w", member(w.request), err)
		}
		if err := s.producer.ProduceSync(ctx, r).FirstErr(); err != nil {
			return fmt.Errorf("publish the ledger line of %s: %w", member(w.request), err)
		}
		w.cp.Published, w.cp.Worker = true, 0
		if err := s.save(ctx, w, progress{}); err != nil {
			return err
		}
	}
	return s.sweeps.forget(ctx, w.request)
}

// supersede closes the earlier sweeps of the owner that are still open: what
// they have not read by now they never will.
func (s *sweeper) supersede(ctx context.Context, w *errand) error {
	earlier, err := s.sweeps.before(ctx, w.request)
	if err != nil {
		return err
	}
	for _, r := range earlier {
		old := &errand{request: r, token: w.token}
		if old.cp, err = s.sweeps.claim(ctx, r, w.token); err != nil {
			return err
		}
		if old.cp.closed() {
			err = s.publish(ctx, old)
		} else {
			err = s.end(ctx, old, event.StatusIncomplete, "overtaken by the sweep of "+w.request.SweepID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
