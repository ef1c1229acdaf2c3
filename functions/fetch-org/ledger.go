package fetchorg

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	status, reason := event.StatusIncomplete, ""
	switch {
	case len(w.cp.Unknown) > 0:
		reason = "GitHub knows no public repository " + strings.Join(w.cp.Unknown, ", ")
	case line.Unanswered > 0:
		reason = fmt.Sprintf("GitHub did not answer, or not usably, for %d repositories", line.Unanswered)
	case w.cp.Round:
		reason = "GitHub's list came round to a page that was read before, so it may hold more"
	case len(w.owner.Repos) == 0 && line.Expected == nil:
		reason = "GitHub did not say how many repositories there are"
	case len(w.owner.Repos) == 0 && line.Seen < *line.Expected:
		reason = fmt.Sprintf("GitHub counts %d repositories and showed %d", *line.Expected, line.Seen)
	default:
		status = event.StatusComplete
	}
	return s.end(ctx, w, status, reason)
}

// implausible says how many repositories had which field not stored because its
// value could not be; "" if none had.
func implausible(fields map[string]int) string {
	var list []string
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		list = append(list, fmt.Sprintf("%s %d", f, fields[f]))
	}
	if len(list) == 0 {
		return ""
	}
	return "implausible values not stored: " + strings.Join(list, ", ")
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
	odd, err := s.sweeps.odd(ctx, w.request)
	if err != nil {
		return err
	}
	if note := implausible(odd); note != "" && reason != "" {
		reason += "; " + note
	} else if note != "" {
		reason = note
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
		if err := s.owners.ended(ctx, w.request.Login, &w.cp.Line); err != nil {
			return err
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
