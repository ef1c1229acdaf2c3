package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// reading is a repository as GitHub answered it, on its way to an observation.
type reading struct {
	github.Repo
	at       time.Time   // when GitHub answered
	detailed bool        // languages and topics were asked for with the counters
	asked    int         // how often it has been asked for by id; 0 when it was listed
	cached   *cachedRepo // by earlier sweeps; nil if new
	next     *cachedRepo // for later ones
}

// setHistory stores what GitHub counted.
func (r *reading) setHistory(h *github.History, at time.Time) {
	var whole bool
	if r.next.Commits, r.next.MergedPRs, whole = h.Counts(); whole {
		r.next.HistoryAt = at
	}
}

// setDetails stores the details that came with the counters, if they did.
func (r *reading) setDetails() {
	if languages, topics, ok := r.Values(); ok {
		r.next.Languages, r.next.Topics, r.next.DetailsAt = languages, topics, r.at
	}
}

// complete says whether all that an observation holds is known. Once GitHub has
// been asked maxAsks times, a count may be null, and details may be those of the
// cache.
func (r *reading) complete() bool {
	last := r.asked >= maxAsks
	if r.next.DetailsAt.IsZero() && last && r.cached != nil {
		r.next.Languages, r.next.Topics, r.next.DetailsAt = r.cached.Languages, r.cached.Topics, r.cached.DetailsAt
	}
	return !r.next.DetailsAt.IsZero() && (last || !r.next.HistoryAt.IsZero())
}

// observation is the reading in the form that is published. What GitHub left
// null stays nil.
func (r *reading) observation(a *attempt) repo.Observation {
	v := r.Observation()
	v.OwnerType, v.Company = a.cp.OwnerType, a.owner.company()
	v.Languages, v.Topics = r.next.Languages, r.next.Topics
	v.MergedPRs, v.CommitsTotal = r.next.MergedPRs, r.next.Commits
	v.ObservedAt, v.SweepID, v.Source = r.at, a.request.SweepID, "graphql"
	v.Normalize()
	return v
}

// observe makes readings durable in Kafka as observations. Details that the list
// does not ask for are carried over from earlier sweeps, unless the repository has
// changed. One that has changed, or that GitHub did not answer for, is noted as
// missing, to be asked for by id in full pages.
func (s *Sweeper) observe(ctx, githubCtx context.Context, a *attempt, readings []*reading) (done progress, err error) {
	if readings, err = s.recall(ctx, a, readings, &done); err != nil {
		return done, err
	}
	if err := s.askHistory(githubCtx, a, readings); err != nil {
		return done, err
	}
	var records []*kgo.Record
	remember := map[int64]*cachedRepo{}
	for _, r := range readings {
		id := field(*r.DatabaseID)
		m := missing{id: *r.DatabaseID, node: r.ID}.String()
		ok := r.complete()
		o := r.observation(a)
		implausible := o.DropImplausible(r.at)
		if len(implausible) > 0 {
			slog.Warn("GitHub answered implausible values", "repo", github.Brief(r.NameWithOwner), "fields", implausible)
			r.next.forget(implausible)
			ok = ok && o.Validate(r.at) == nil
		}
		switch {
		case !ok && r.asked == 0:
			done.Missing = append(done.Missing, m)
			continue
		case !ok:
			done.Failed = append(done.Failed, m)
			done.implausible(implausible, id)
			continue
		}
		done.implausible(implausible, id)
		record, err := s.codec.Record(ctx, &o, false)
		if err != nil {
			return done, err
		}
		records = append(records, record)
		remember[o.ID] = r.next
		done.Seen = append(done.Seen, id)
		done.Settled = append(done.Settled, m)
		if a.cp.Comparable && r.next.First == a.request.SweepID {
			done.New = append(done.New, id)
		}
		if r.next.Renamed == a.request.SweepID {
			done.Renamed = append(done.Renamed, id)
		}
	}
	if err := s.publishRecords(ctx, event.TopicBaseRepos, records...); err != nil {
		return done, fmt.Errorf("publish a page of %s: %w", a.request.Login, err)
	}
	if len(records) > 0 {
		kafka.RingBell(ctx, s.producer, event.TopicBaseRepos)
	}
	return done, s.cache.keep(ctx, a.request.Login, remember, nil)
}

// recall drops the readings that the owner's patterns exclude, adds to the others
// what the cache knows of them, and notes as missing what was listed and has
// changed.
func (s *Sweeper) recall(ctx context.Context, a *attempt, readings []*reading, done *progress) ([]*reading, error) {
	var wanted []*reading
	var ids []int64
	for _, r := range readings {
		switch {
		case r.DatabaseID == nil: // nothing would say whose counters these are
			a.cp.Nulls++
		case !a.owner.Includes(r.NameWithOwner):
			done.Excluded = append(done.Excluded, field(*r.DatabaseID))
			done.Settled = append(done.Settled, missing{id: *r.DatabaseID, node: r.ID}.String())
		default:
			wanted = append(wanted, r)
			ids = append(ids, *r.DatabaseID)
		}
	}
	was, err := s.cache.recall(ctx, a.request.Login, ids)
	if err != nil {
		return nil, err
	}
	var kept []*reading
	for _, r := range wanted {
		r.cached = was[*r.DatabaseID]
		r.next = &cachedRepo{
			NodeID: r.ID, Name: r.NameWithOwner, First: a.request.SweepID,
			PushedAt: r.Pushed(), UpdatedAt: r.Updated(), Branch: r.Branch(),
		}
		if r.cached != nil {
			r.next.First, r.next.Renamed = r.cached.First, r.cached.Renamed
			if r.cached.Name != r.NameWithOwner {
				r.next.Renamed = a.request.SweepID
			}
		}
		switch {
		case r.detailed:
			r.setDetails()
		case r.cached.hasDetails(&r.Counters, r.at) && r.cached.hasHistory(&r.Counters, r.at):
			r.next.Languages, r.next.Topics, r.next.DetailsAt = r.cached.Languages, r.cached.Topics, r.cached.DetailsAt
		default:
			done.Missing = append(done.Missing, missing{id: *r.DatabaseID, node: r.ID}.String())
			continue
		}
		kept = append(kept, r)
	}
	return kept, nil
}

// askHistory fills in the numbers of commits and merges, in as many queries as
// they need. A query that GitHub does not answer is repeated, narrower, at most
// maxAsks times; what has no answer by then is left without.
func (s *Sweeper) askHistory(ctx context.Context, a *attempt, readings []*reading) error {
	var pushed []*reading
	for _, r := range readings {
		if r.cached.hasHistory(&r.Counters, r.at) {
			r.next.Commits, r.next.MergedPRs, r.next.HistoryAt = r.cached.Commits, r.cached.MergedPRs, r.cached.HistoryAt
			continue
		}
		pushed = append(pushed, r)
	}
	for failures := 0; len(pushed) > 0; {
		wide, err := s.github.Width(ctx, github.ShapeHistory)
		if err != nil {
			return err
		}
		n := min(wide, len(pushed))
		ids := make([]string, n)
		for i, r := range pushed[:n] {
			ids[i] = r.ID
		}
		answers, err := s.github.Histories(ctx, ids, &a.usage)
		var bad *github.NoAnswerError
		switch {
		case errors.As(err, &bad) && failures < maxAsks:
			pause := github.Backoff(failures)
			failures++
			slog.Warn("GitHub did not count commits", "owner", a.request.Login, "try", failures, "pause", pause, "error", err)
			s.pause(ctx, pause)
			continue
		case errors.As(err, &bad):
			failures = 0
		case err != nil:
			return err
		}
		for i, answer := range answers {
			if answer.Node != nil {
				pushed[i].setHistory(answer.Node, answer.At)
			}
		}
		pushed = pushed[n:]
	}
	return nil
}
