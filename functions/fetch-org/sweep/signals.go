package sweep

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// judge decides whether the end of a sweep is a signal of its owner: one that failed or
// is incomplete, unless the sweep before ended with the same status, or the owner was
// removed.
func (s *Sweeper) judge(ctx context.Context, a *attempt, status string) error {
	owner, err := s.owners.Get(ctx, a.request.Login)
	if err != nil {
		return err
	}
	last, err := s.cache.get(ctx, a.request.Login, ended)
	if err != nil {
		return err
	}
	a.cp.Company, a.cp.Signal = owner.company(), ""
	if status == last || owner.Removed {
		return nil
	}
	switch status {
	case event.StatusFailed, event.StatusUnknownOwner:
		a.cp.Signal = signal.OwnerFailed
	case event.StatusIncomplete:
		a.cp.Signal = signal.SweepIncomplete
	}
	return nil
}

// announce writes the signals of a closed sweep to Kafka: that of its owner, what is
// new, and what is gone.
//
// It is safe to repeat. They follow from the checkpoint and the sets, which do not
// change once the sweep is closed, and from names in the cache, so each comes again
// under the same id, which the stores keep once. What is no longer in the cache was
// announced before it was dropped.
func (s *Sweeper) announce(ctx context.Context, a *attempt) error {
	line := &a.cp.Line
	if a.cp.Signal != "" {
		g := raise(a, a.cp.Signal)
		g.Say("%s: the sweep ended as %s", line.Owner, line.Status)
		if line.Reason != nil {
			g.Say("%s: %s", g.Words, *line.Reason)
		}
		if err := s.produce(ctx, a, g); err != nil {
			return err
		}
	}
	if a.cp.Announce {
		if err := s.announceSet(ctx, a, "new", signal.RepositoryNew, "%s is new"); err != nil {
			return err
		}
	}
	return s.announceSet(ctx, a, "gone", signal.RepositoryGone, "%s is gone: deleted, made private, or moved")
}

// announceSet writes a signal of each repository in a set, some hundred at a time.
func (s *Sweeper) announceSet(ctx context.Context, a *attempt, set, kind, words string) error {
	ids, err := s.sweeps.members(ctx, a.request, set)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ids, 500) {
		cached, err := s.cache.recall(ctx, a.request.Login, some)
		if err != nil {
			return err
		}
		var signals []*event.Signal
		for _, id := range some {
			if r := cached[id]; r != nil {
				g := raise(a, kind)
				g.RepoID, g.NameWithOwner = &id, &r.Name
				g.Say(words, r.Name)
				signals = append(signals, g)
			}
		}
		if err := s.produce(ctx, a, signals...); err != nil {
			return err
		}
	}
	return nil
}

// raise returns a signal that follows from a closed sweep.
func raise(a *attempt, kind string) *event.Signal {
	line := &a.cp.Line
	g := signal.New(kind)
	g.Owner, g.Company, g.ObservedAt = line.Owner, a.cp.Company, line.FinishedAt
	g.Evidence = line.SweepID + "/" + line.Owner
	return g
}

// produce writes signals to Kafka and waits until they are acknowledged.
func (s *Sweeper) produce(ctx context.Context, a *attempt, signals ...*event.Signal) error {
	records := make([]*kgo.Record, len(signals))
	for i, g := range signals {
		g.Identify()
		var err error
		if records[i], err = s.codec.Record(ctx, g, false); err != nil {
			return fmt.Errorf("encode signal %s: %w", g.ID, err)
		}
	}
	if err := s.publishRecords(ctx, event.TopicSignals, records...); err != nil {
		return fmt.Errorf("publish %d signals of %s: %w", len(signals), member(a.request), err)
	}
	return nil
}
