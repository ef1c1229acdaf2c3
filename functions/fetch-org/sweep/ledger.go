package sweep

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

// finish ends the sweep with the status that follows from its counters.
func (s *Sweeper) finish(ctx context.Context, a *attempt) error {
	line := &a.cp.Line
	line.Unanswered += a.cp.Nulls
	if err := s.cache.complete(ctx, a.request.Login, a.request.SweepID); err != nil {
		return err
	}
	status, reason := event.StatusIncomplete, ""
	switch {
	case len(a.cp.Unknown) > 0:
		reason = "GitHub knows no public repository " + strings.Join(a.cp.Unknown, ", ")
	case line.Unanswered > 0:
		reason = fmt.Sprintf("GitHub did not answer, or not usably, for %d repositories", line.Unanswered)
	case a.cp.Looped:
		reason = "GitHub's list leads back to a page that was read before, so there may be more repositories"
	case len(a.owner.Repos) == 0 && line.Expected == nil:
		reason = "GitHub did not say how many repositories there are"
	case len(a.owner.Repos) == 0 && line.Seen < *line.Expected:
		reason = fmt.Sprintf("GitHub counts %d repositories and listed %d", *line.Expected, line.Seen)
	default:
		status = event.StatusComplete
		if err := s.cache.set(ctx, a.request.Login, whole, a.cp.Choice); err != nil {
			return err
		}
	}
	return s.end(ctx, a, status, reason)
}

// implausibleReason says for how many repositories which field was not stored
// because its value was impossible; "" for none.
func implausibleReason(fields map[string]int) string {
	var list []string
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		list = append(list, fmt.Sprintf("%s %d", f, fields[f]))
	}
	if len(list) == 0 {
		return ""
	}
	return "implausible values not stored: " + strings.Join(list, ", ")
}

// end closes the sweep. First the line and its signals are fixed in the checkpoint,
// where the fence lets only one holder do it; then they are published. A crash in
// between publishes the same again, under the same ids.
func (s *Sweeper) end(ctx context.Context, a *attempt, status, reason string) error {
	if err := s.judge(ctx, a, status); err != nil {
		return err
	}
	implausible, err := s.sweeps.implausible(ctx, a.request)
	if err != nil {
		return err
	}
	if note := implausibleReason(implausible); note != "" && reason != "" {
		reason += "; " + note
	} else if note != "" {
		reason = note
	}
	line := &a.cp.Line
	line.Status = status
	if reason != "" {
		line.Reason = event.Reason(reason)
	}
	line.FinishedAt = time.Now().UTC().Truncate(time.Millisecond)
	if line.StartedAt.IsZero() {
		line.StartedAt = line.FinishedAt
	}
	line.Seconds = line.FinishedAt.Sub(line.StartedAt).Seconds()
	if err := s.save(ctx, a, progress{}); err != nil {
		return err
	}
	return s.publish(ctx, a)
}

// publish writes the ledger line of a closed sweep and its signals, then takes the
// sweep out of the index. What is gone stays in the cache, where the signals have the
// names from, until they are in Kafka.
func (s *Sweeper) publish(ctx context.Context, a *attempt) error {
	if !a.cp.Published {
		r, err := s.codec.Record(ctx, &a.cp.Line, false)
		if err != nil {
			return fmt.Errorf("ledger line of %s: %w", member(a.request), err)
		}
		if err := s.publishRecords(ctx, event.TopicSweeps, r); err != nil {
			return fmt.Errorf("publish the ledger line of %s: %w", member(a.request), err)
		}
		if err := s.announce(ctx, a); err != nil {
			return err
		}
		gone, err := s.sweeps.members(ctx, a.request, "gone")
		if err != nil {
			return err
		}
		if err := s.cache.drop(ctx, a.request.Login, gone); err != nil {
			return err
		}
		if err := s.cache.set(ctx, a.request.Login, ended, a.cp.Line.Status); err != nil {
			return err
		}
		if err := s.owners.ended(ctx, a.request.Login, &a.cp.Line); err != nil {
			return err
		}
		a.cp.Published, a.cp.Worker = true, 0
		if err := s.save(ctx, a, progress{}); err != nil {
			return err
		}
	}
	return s.sweeps.forget(ctx, a.request)
}

// supersede closes the earlier sweeps of the owner that are still open: they will
// not be continued.
func (s *Sweeper) supersede(ctx context.Context, a *attempt) error {
	earlier, err := s.sweeps.before(ctx, a.request)
	if err != nil {
		return err
	}
	for _, r := range earlier {
		old := &attempt{request: r, token: a.token}
		if old.cp, err = s.sweeps.claim(ctx, r, a.token); err != nil {
			return err
		}
		if old.cp.closed() {
			err = s.publish(ctx, old)
		} else {
			err = s.end(ctx, old, event.StatusIncomplete, "overtaken by the sweep of "+a.request.SweepID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
