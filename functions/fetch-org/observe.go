package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// reading is a repository as GitHub answered it, on its way to an observation.
type reading struct {
	Whole
	at       time.Time   // when GitHub answered
	detailed bool        // languages and topics were asked for with the counters
	asked    int         // how often it has been asked for by id; 0 when it was listed
	cached   *cachedRepo // to earlier sweeps; nil if new
	next     *cachedRepo // to later ones
}

// observe makes readings durable in Kafka as observations. Details that the list
// does not ask for are carried over from earlier sweeps, unless the repository has
// changed. One that has changed, or that GitHub did not answer for, is noted as
// missing, to be asked for by id in full pages.
func (s *sweeper) observe(ctx, githubCtx context.Context, a *attempt, readings []*reading) (done progress, err error) {
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
		o := r.observation(a.of(), a.request.SweepID)
		implausible := o.DropImplausible(r.at)
		if len(implausible) > 0 {
			slog.Warn("GitHub answered implausible values", "repo", brief(r.NameWithOwner), "fields", implausible)
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
	if err := s.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return done, fmt.Errorf("publish a page of %s: %w", a.request.Login, err)
	}
	if len(records) > 0 {
		kafka.RingBell(s.producer, event.TopicBaseRepos)
	}
	return done, s.cache.keep(ctx, a.request.Login, remember, nil)
}

// recall drops the readings that the owner's patterns exclude, adds to the others
// what the cache knows of them, and notes as missing what was listed and has
// changed.
func (s *sweeper) recall(ctx context.Context, a *attempt, readings []*reading, done *progress) ([]*reading, error) {
	var wanted []*reading
	var ids []int64
	for _, r := range readings {
		switch {
		case r.DatabaseID == nil: // nothing would say whose counters these are
			a.cp.Nulls++
		case !a.owner.includes(r.NameWithOwner):
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
			PushedAt: r.PushedAt.value(), UpdatedAt: r.UpdatedAt.value(), Branch: r.branch(),
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
func (s *sweeper) askHistory(ctx context.Context, a *attempt, readings []*reading) error {
	var pushed []*reading
	for _, r := range readings {
		if r.cached.hasHistory(&r.Counters, r.at) {
			r.next.Commits, r.next.MergedPRs, r.next.HistoryAt = r.cached.Commits, r.cached.MergedPRs, r.cached.HistoryAt
			continue
		}
		pushed = append(pushed, r)
	}
	for failures := 0; len(pushed) > 0; {
		wide, err := s.github.widths.of(ctx, shapeHistory)
		if err != nil {
			return err
		}
		n := min(wide.n(), len(pushed))
		ids := make([]string, n)
		for i, r := range pushed[:n] {
			ids[i] = r.ID
		}
		answers, err := byID[history](ctx, s.github, shapeHistory, ids, &a.usage)
		var bad *noAnswerError
		switch {
		case errors.As(err, &bad) && failures < maxAsks:
			pause := backoff(failures)
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
			if answer.node != nil {
				pushed[i].setHistory(answer.node, answer.at)
			}
		}
		pushed = pushed[n:]
	}
	return nil
}

// setHistory stores what GitHub counted. An empty repository has no branch.
func (r *reading) setHistory(h *history, at time.Time) {
	r.next.MergedPRs = h.MergedPRs.total()
	b := h.DefaultBranchRef
	if b != nil && b.Target != nil {
		r.next.Commits = b.Target.Commit.History.total()
	}
	if r.next.MergedPRs != nil && (b == nil || r.next.Commits != nil) {
		r.next.HistoryAt = at
	}
}

func (r *reading) setDetails() {
	d := &r.Details
	if d.Languages == nil || d.RepositoryTopics == nil {
		return
	}
	for _, e := range d.Languages.Edges {
		if e != nil {
			r.next.Languages = append(r.next.Languages, repo.Language{Name: e.Node.Name, Bytes: int64(e.Size)})
		}
	}
	for _, t := range d.RepositoryTopics.Nodes {
		if t != nil {
			r.next.Topics = append(r.next.Topics, t.Topic.Name)
		}
	}
	r.next.DetailsAt = r.at
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
func (r *reading) observation(o owner, sweepID string) repo.Observation {
	v := repo.Observation{
		ID: *r.DatabaseID, NodeID: r.ID, NameWithOwner: r.NameWithOwner,
		OwnerType: o.Type, Company: o.Company, Description: r.Description,
		Languages: r.next.Languages, Topics: r.next.Topics,
		IsFork: r.IsFork, IsArchived: r.IsArchived,
		CreatedAt: r.CreatedAt.value(), PushedAt: r.PushedAt.value(), UpdatedAt: r.UpdatedAt.value(),
		Stars: int64(r.StargazerCount), Forks: r.ForkCount.value(), Watchers: r.Watchers.total(),
		OpenIssues: r.OpenIssues.total(), ClosedIssues: r.ClosedIssues.total(),
		OpenPRs: r.OpenPRs.total(), MergedPRs: r.next.MergedPRs, ClosedPRs: r.ClosedPRs.total(),
		Discussions: r.Discussions.total(), Releases: r.Releases.total(), DiskKB: r.DiskUsage.value(),
		CommitsTotal: r.next.Commits, ObservedAt: r.at, SweepID: sweepID, Source: "graphql",
	}
	if r.PrimaryLanguage != nil {
		v.PrimaryLanguage = &r.PrimaryLanguage.Name
	}
	if r.LicenseInfo != nil {
		v.License = r.LicenseInfo.SpdxID
	}
	if r.DefaultBranchRef != nil {
		v.DefaultBranch = &r.DefaultBranchRef.Name
	}
	if r.LatestRelease != nil {
		v.LatestRelease, v.LatestReleaseAt = &r.LatestRelease.TagName, r.LatestRelease.PublishedAt.value()
	}
	v.Normalize()
	return v
}

// branch is the name of the default branch, "" for an empty repository.
func (n *Counters) branch() string {
	if n.DefaultBranchRef == nil {
		return ""
	}
	return n.DefaultBranchRef.Name
}

// total is nil for a count that GitHub did not answer.
func (c *count) total() *int64 {
	if c == nil {
		return nil
	}
	return c.TotalCount.value()
}
