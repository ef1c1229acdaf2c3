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
	at       time.Time // when GitHub answered
	detailed bool      // languages and topics were asked for with the counters
	asked    int       // how often it has been asked for by id; 0 when it was listed
	was      *known    // to earlier sweeps; nil if new
	next     *known    // to later ones
}

// observe makes readings durable in Kafka as observations. What the list did not
// ask for is carried over from earlier sweeps where nothing says that it has
// changed. The other repositories of the list are left missing, to be asked for
// by id in full pages, and so is what GitHub does not answer for.
func (s *sweeper) observe(ctx, asking context.Context, w *errand, readings []*reading) (done progress, err error) {
	if readings, err = s.recall(ctx, w, readings, &done); err != nil {
		return done, err
	}
	if err := s.askHistory(asking, w, readings); err != nil {
		return done, err
	}
	var records []*kgo.Record
	remember := map[int64]*known{}
	for _, r := range readings {
		id := field(*r.DatabaseID)
		m := missing{id: *r.DatabaseID, node: r.ID}.String()
		ok := r.complete()
		o := r.observation(w.of(), w.request.SweepID)
		odd := o.DropImplausible(r.at)
		if len(odd) > 0 {
			slog.Warn("GitHub answered implausible values", "repo", brief(r.NameWithOwner), "fields", odd)
			r.next.forget(odd)
			ok = ok && o.Validate(r.at) == nil
		}
		switch {
		case !ok && r.asked == 0:
			done.Missing = append(done.Missing, m)
			continue
		case !ok:
			done.Failed = append(done.Failed, m)
			done.odd(odd, id)
			continue
		}
		done.odd(odd, id)
		record, err := s.codec.Record(ctx, &o, false)
		if err != nil {
			return done, err
		}
		records = append(records, record)
		remember[o.ID] = r.next
		done.Seen = append(done.Seen, id)
		done.Settled = append(done.Settled, m)
		if w.cp.Comparable && r.next.First == w.request.SweepID {
			done.New = append(done.New, id)
		}
		if r.next.Renamed == w.request.SweepID {
			done.Renamed = append(done.Renamed, id)
		}
	}
	if err := s.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return done, fmt.Errorf("publish a page of %s: %w", w.request.Login, err)
	}
	if len(records) > 0 {
		kafka.RingBell(s.producer, event.TopicBaseRepos)
	}
	return done, s.memory.keep(ctx, w.request.Login, remember, nil)
}

// recall drops the readings that the owner's patterns exclude, adds to the others
// what is known of them, and leaves missing what is listed and has changed.
func (s *sweeper) recall(ctx context.Context, w *errand, readings []*reading, done *progress) ([]*reading, error) {
	var wanted []*reading
	var ids []int64
	for _, r := range readings {
		switch {
		case r.DatabaseID == nil: // nothing would say whose counters these are
			w.cp.Nulls++
		case !w.owner.admits(r.NameWithOwner):
			done.Excluded = append(done.Excluded, field(*r.DatabaseID))
			done.Settled = append(done.Settled, missing{id: *r.DatabaseID, node: r.ID}.String())
		default:
			wanted = append(wanted, r)
			ids = append(ids, *r.DatabaseID)
		}
	}
	was, err := s.memory.recall(ctx, w.request.Login, ids)
	if err != nil {
		return nil, err
	}
	var kept []*reading
	for _, r := range wanted {
		r.was = was[*r.DatabaseID]
		r.next = &known{
			NodeID: r.ID, Name: r.NameWithOwner, First: w.request.SweepID,
			PushedAt: r.PushedAt.value(), UpdatedAt: r.UpdatedAt.value(), Branch: r.branch(),
		}
		if r.was != nil {
			r.next.First, r.next.Renamed = r.was.First, r.was.Renamed
			if r.was.Name != r.NameWithOwner {
				r.next.Renamed = w.request.SweepID
			}
		}
		switch {
		case r.detailed:
			r.setDetails()
		case r.was.hasDetails(&r.Counters, r.at) && r.was.hasHistory(&r.Counters, r.at):
			r.next.Languages, r.next.Topics, r.next.DetailsAt = r.was.Languages, r.was.Topics, r.was.DetailsAt
		default:
			done.Missing = append(done.Missing, missing{id: *r.DatabaseID, node: r.ID}.String())
			continue
		}
		kept = append(kept, r)
	}
	return kept, nil
}

// askHistory fills in the numbers of commits and merges, in as many queries as
// they need. A query that GitHub does not answer comes again, narrower, but not for
// ever: what has no answer by then is left without.
func (s *sweeper) askHistory(ctx context.Context, w *errand, readings []*reading) error {
	var pushed []*reading
	for _, r := range readings {
		if r.was.hasHistory(&r.Counters, r.at) {
			r.next.Commits, r.next.MergedPRs, r.next.HistoryAt = r.was.Commits, r.was.MergedPRs, r.was.HistoryAt
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
		answers, err := byID[history](ctx, s.github, shapeHistory, ids, &w.visit)
		var bad *broken
		switch {
		case errors.As(err, &bad) && failures < maxAsks:
			pause := backoff(failures)
			failures++
			slog.Warn("GitHub did not count commits", "owner", w.request.Login, "try", failures, "pause", pause, "error", err)
			s.pause(ctx, pause)
			continue
		case errors.As(err, &bad):
			failures = 0
		case err != nil:
			return err
		}
		for i, a := range answers {
			if a.node != nil {
				pushed[i].setHistory(a.node, a.at)
			}
		}
		pushed = pushed[n:]
	}
	return nil
}

// setHistory takes over what GitHub counted. An empty repository has no branch.
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
// been asked often enough, a count may be null, and what is not null be what it
// was.
func (r *reading) complete() bool {
	last := r.asked >= maxAsks
	if r.next.DetailsAt.IsZero() && last && r.was != nil {
		r.next.Languages, r.next.Topics, r.next.DetailsAt = r.was.Languages, r.was.Topics, r.was.DetailsAt
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
