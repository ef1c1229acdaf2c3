// Package demo tells the pipeline of a GitHub that never was: the emulator's world of
// the seven companies, which lives through two months in seconds. What fetch-org and
// fetch-events would have written of it is written: observations with all counters,
// events, and the ledgers of both; among it a deletion, a rename, breakouts and a feed
// that was not read for a day. All of it says that it is simulated.
package demo

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/repo"
)

const (
	days = 60 // that the world lives
	// sweep is how often it is read. Readings of earlier days lie whole days before the
	// last, so that a change over a window and that over the window before are known.
	sweep = 24 * time.Hour
	// hourly is for how long before the end each hour is swept: deltas over an hour need
	// two readings that are one apart.
	hourly = 26 * time.Hour
	// eventsAnHour happen in all repositories together; lost of them no feed shows.
	eventsAnHour = 24
	lost         = 0.08
)

// company is one of the seven, with an owner and how many repositories it has.
type company struct {
	name, owner string
	repos       int
}

func companies() []company {
	return []company{
		{"microsoft", "microsoft", 12}, {"alphabet", "google", 11}, {"meta", "facebook", 9}, {"amazon", "aws", 8}, {"nvidia", "nvidia", 7}, {"apple", "apple", 5}, {"tesla", "teslamotors", 3},
	}
}

// names are those of repositories, in turn.
func names() []string {
	return strings.Fields("compiler terminal vision runtime speech router notebook scheduler kernels charts parser gateway tensor wallet maps editor protocol sandbox mesh codec")
}

// Span is the time that the world lives through if it is over at the hour before now.
func Span(now time.Time) (from, until time.Time) {
	until = now.UTC().Truncate(time.Hour)
	return until.AddDate(0, 0, -days), until
}

// Tell writes all that is known of the world from a time on, for as long as Span says:
// each a *event.RepoObserved, *event.OwnerSwept, *event.GitHubEvent or *event.FeedRead,
// the observations in their order. The same time gives the same.
func Tell(ctx context.Context, from time.Time, write func(context.Context, any) error) error {
	w := &world{World: github.Generate(plan(from)), companies: companies(), write: write, known: map[string]map[int64]string{}, released: map[int64]release{}}
	for i, o := range w.Owners {
		for k, r := range o.Repos {
			size(r, w.companies[i], k)
		}
	}
	until := from.AddDate(0, 0, days)
	for at := from; !at.After(until); {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.Pass(at)
		w.stir(at.Sub(from), at)
		if err := w.sweep(ctx, at); err != nil {
			return err
		}
		step := sweep
		if until.Sub(at) <= hourly {
			step = time.Hour
		}
		at = at.Add(step)
	}
	return w.feeds(ctx, from, until)
}

func plan(from time.Time) github.Plan {
	p := github.Plan{
		Seed: 7, Start: from,
		Life:  github.Life{Created: .04, Archived: .02},
		Feeds: github.Feeds{Seed: 7, Rate: eventsAnHour, Lost: lost, Latency: time.Hour},
	}
	for _, c := range companies() {
		p.Owners = append(p.Owners, github.OwnerPlan{Login: c.owner, Repos: c.repos})
	}
	return p
}

// size gives the k-th repository of a company a name, and counters that go together.
func size(r *github.Repo, of company, k int) {
	all := names()
	r.Name = all[(k+len(of.name)*len(of.owner))%len(all)]
	r.Description = "Simulated: " + r.Name + " of " + of.owner
	r.Topics = []string{"simulated", r.Name}
	r.Fork, r.Archived = false, false
	r.Stars = int64(float64(9_000*of.repos) / math.Pow(float64(k+1), 1.3))
	share := func(of float64) int64 { return 1 + int64(of*float64(r.Stars)) }
	r.Forks, r.Watchers, r.Commits, r.Assignable = share(.17), share(.02), share(.3), share(.002)
	r.OpenIssues, r.ClosedIssues, r.OpenPRs, r.MergedPRs, r.ClosedPRs = share(.012), share(.09), share(.003), share(.07), share(.02)
	r.Discussions, r.Releases, r.DiskKB = share(.01), share(.0008), share(4)
	r.LatestRelease = fmt.Sprintf("v%d", r.Releases)
	r.Busy = math.Pow(float64(r.Stars), .6) * (.5 + float64(r.ID*7919%11)/5) // more where more is, and not the same everywhere
}

// world is the emulator's, and what its readers know of it.
type world struct {
	*github.World
	companies []company // of its owners, in their order
	write     func(context.Context, any) error
	known     map[string]map[int64]string // names of the sweep before, by owner
	released  map[int64]release
}

// release is the newest of a repository, and when it was first seen.
type release struct {
	tag string
	at  time.Time
}

// How old the world is when something happens that does not happen every day.
const (
	spike    = 50 * 24 * time.Hour // stars that nothing else follows
	deletion = 33 * 24 * time.Hour
	renaming = 45 * 24 * time.Hour
	unread   = 40 * 24 * time.Hour // a feed, for a day
)

// stir has something happen beside what the feeds draw: reviews, repositories that lose
// stars, and what does not happen every day.
func (w *world) stir(age time.Duration, at time.Time) {
	switch age {
	case spike, spike + sweep:
		w.praise(w.Owners[4].Repos[1], 270, at)
	case days * 24 * time.Hour:
		apple := w.Owners[5].Repos[0]
		w.praise(apple, 90, at)
		for i := range 7 {
			w.Occur(apple, "fork", fmt.Sprintf("reader-%d", i), at.Add(-time.Duration(i)*time.Hour))
		}
	case deletion:
		o := w.Owners[1]
		o.Repos = o.Repos[:len(o.Repos)-1]
	case renaming:
		w.Owners[2].Repos[1].Name += "-next"
	}
	for i, o := range w.Owners {
		for k, r := range o.Repos {
			if daily := age%sweep == 0; daily && age > 0 && k < 3 {
				w.Occur(r, "review", fmt.Sprintf("dev-%d", 30+k), at.Add(-30*time.Minute))
			} else if daily && k == 3 && i%2 == 1 {
				w.Occur(r, "unstar", "", at)
			}
			if strings.HasPrefix(r.Name, "repo-") { // made since the sweep before
				size(r, w.companies[i], int(r.ID))
				r.Name, r.Stars = r.Name+"-lab", 3
			}
		}
	}
}

// praise gives a repository stars, over the day before a time.
func (w *world) praise(r *github.Repo, stars int, at time.Time) {
	for i := range stars {
		w.Occur(r, "star", fmt.Sprintf("reader-%d-%d", i, at.Unix()), at.Add(-5*time.Duration(i)*time.Minute))
	}
}

// sweep writes a reading of every repository of every owner, and the ledger.
func (w *world) sweep(ctx context.Context, at time.Time) error {
	id := at.Format(time.RFC3339)
	for i, o := range w.Owners {
		line := &event.OwnerSwept{SweepID: id, Owner: o.Login, Status: event.StatusComplete, StartedAt: at, FinishedAt: at.Add(2 * time.Second), New: new(int64(0)), Renamed: new(int64(0)), Gone: new(int64(0)), Pages: 1, Points: 1, Seconds: 2}
		was, is := w.known[o.Login], map[int64]string{}
		for _, r := range o.Repos {
			is[r.ID] = r.Name
			switch name, before := was[r.ID]; {
			case !before && was != nil:
				*line.New++
			case before && name != r.Name:
				*line.Renamed++
			}
			if err := w.write(ctx, w.observe(r, o.Login, w.companies[i].name, id, at)); err != nil {
				return err
			}
		}
		for id := range was {
			if _, still := is[id]; !still {
				*line.Gone++
			}
		}
		w.known[o.Login] = is
		line.Seen = int64(len(is))
		line.Expected = new(line.Seen)
		if err := w.write(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) observe(r *github.Repo, owner, of, sweepID string, at time.Time) *event.RepoObserved {
	if was, known := w.released[r.ID]; r.LatestRelease != was.tag {
		now := release{tag: r.LatestRelease, at: at.Add(-time.Hour)}
		if !known {
			now.at = r.CreatedAt
		}
		w.released[r.ID] = now
	}
	o := &event.RepoObserved{
		ID: r.ID, NodeID: fmt.Sprintf("simulated-%d", r.ID), NameWithOwner: owner + "/" + r.Name, OwnerType: "Organization", Company: &of,
		Description: &r.Description, PrimaryLanguage: &r.Language, Topics: r.Topics, License: &r.License, DefaultBranch: &r.Branch, IsFork: r.Fork, IsArchived: r.Archived,
		CreatedAt: new(r.CreatedAt), PushedAt: new(r.PushedAt), UpdatedAt: new(r.PushedAt),
		Stars: r.Stars, Forks: new(r.Forks), Watchers: new(r.Watchers), OpenIssues: new(r.OpenIssues), ClosedIssues: new(r.ClosedIssues),
		OpenPRs: new(r.OpenPRs), MergedPRs: new(r.MergedPRs), ClosedPRs: new(r.ClosedPRs), AssignableUsers: new(r.Assignable), Discussions: new(r.Discussions),
		Releases: new(r.Releases), CommitsTotal: new(r.Commits), DiskKB: new(r.DiskKB), ObservedAt: at.Add(time.Second), SweepID: sweepID, Source: repo.Simulated,
	}
	if newest := w.released[r.ID]; newest.tag != "" {
		o.LatestRelease, o.LatestReleaseAt = &newest.tag, &newest.at
	}
	for _, l := range r.Languages {
		o.Languages = append(o.Languages, repo.Language{Name: l.Name, Bytes: l.Bytes})
	}
	o.Normalize()
	return o
}

// feeds writes the events that the feeds have shown, and one line a day of the ledger of
// each: complete but for the day on which one was not read, and its events were lost.
func (w *world) feeds(ctx context.Context, from, until time.Time) error {
	read := feed.Reader{Bots: feed.NewBots(), Source: repo.Simulated}
	for _, o := range w.Owners {
		for k, r := range o.Repos {
			name := o.Login + "/" + r.Name
			var gap [2]time.Time
			if o == w.Owners[0] && k == 0 {
				gap = [2]time.Time{from.Add(unread), from.Add(unread + 24*time.Hour)}
			}
			events := int64(0)
			for _, h := range w.Happened(r.ID) {
				if h.Shown.IsZero() || h.Shown.After(until) || h.At.Before(from) || !h.At.Before(gap[0]) && h.At.Before(gap[1]) {
					continue
				}
				e, err := read.Read(h.JSON(), h.Shown)
				if err != nil {
					return fmt.Errorf("read an event of %s: %w", name, err)
				}
				if err := w.write(ctx, e); err != nil {
					return err
				}
				events++
			}
			lines := []*event.FeedRead{{RepoID: r.ID, NameWithOwner: name, Owner: o.Login, Status: feed.StatusComplete, ReadAt: from, Requests: 1}}
			if gap[1].IsZero() {
				lines = append(lines, &event.FeedRead{RepoID: r.ID, NameWithOwner: name, Owner: o.Login, Status: feed.StatusComplete, Since: &from, ReadAt: until, Events: events, Requests: 1})
			} else {
				lines = append(lines,
					&event.FeedRead{RepoID: r.ID, NameWithOwner: name, Owner: o.Login, Status: feed.StatusComplete, Since: &from, ReadAt: gap[0], Requests: 1},
					&event.FeedRead{RepoID: r.ID, NameWithOwner: name, Owner: o.Login, Status: feed.StatusGap, Since: &gap[0], ReadAt: gap[1], GapFrom: &gap[0], GapTo: &gap[1], Requests: 1},
					&event.FeedRead{RepoID: r.ID, NameWithOwner: name, Owner: o.Login, Status: feed.StatusComplete, Since: &gap[1], ReadAt: until, Events: events, Requests: 1})
			}
			for _, line := range lines {
				if err := w.write(ctx, line); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
