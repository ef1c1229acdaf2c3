package github

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// Feeds is what goes on in repositories, as their feeds of events show it. Each event
// moves the counters that it would move on GitHub, so the two can be compared.
type Feeds struct {
	Seed uint64
	// Rate is how many events an hour happen in all repositories together; most of
	// them in a few.
	Rate float64
	// Lost is the share, from 0 to 1, of events that no feed ever shows, though the
	// counters have moved.
	Lost float64
	// Repeated is the share of events that a feed shows twice.
	Repeated float64
	// Latency is the longest time until a feed shows an event: most are shown after a
	// hundredth of it. GitHub says 30 seconds to 6 hours.
	Latency time.Duration
	// Keep is how many events of each repository are remembered, the newest; 0 for all.
	Keep int
}

// The window of a feed, as GitHub documents it.
const (
	FeedEvents = 300
	FeedAge    = 30 * 24 * time.Hour
)

// trimmed is when GitHub began to leave most of an event's payload out.
func trimmed() time.Time { return time.Date(2025, 10, 7, 0, 0, 0, 0, time.UTC) }

// Happening is an event, shown or not.
type Happening struct {
	ID    int64
	Type  string
	At    time.Time
	Shown time.Time // when the feed shows it first; zero: never

	copies int
	raw    json.RawMessage // as GitHub gives it
}

// JSON is the event as GitHub gives it.
func (h *Happening) JSON() json.RawMessage { return h.raw }

type person struct {
	id    int64
	login string
}

// feeds is the state of what goes on.
type feeds struct {
	Feeds
	rng  *rand.Rand
	next time.Time
	ids  [2]int64 // the last of each of GitHub's two sequences
}

// busy is a repository's share of what goes on.
func (r *Repo) busy() float64 {
	if r.Busy > 0 {
		return r.Busy
	}
	return math.Exp(3 * rand.New(rand.NewPCG(uint64(r.ID), 7)).NormFloat64())
}

// Begin has events happen from a time on. Stars then change by events alone.
func (w *World) Begin(f Feeds, from time.Time) {
	w.feeds = &feeds{Feeds: f, rng: rand.New(rand.NewPCG(f.Seed, 99)), next: from, ids: [2]int64{12_660_000_000, 10_140_000_000}}
	for _, o := range w.Owners {
		for _, r := range o.Repos {
			r.Stars, r.Drift = r.stars(from), 0
		}
	}
	w.feeds.wait()
}

func (f *feeds) wait() {
	if f.Rate <= 0 {
		f.next = time.Time{}
		return
	}
	f.next = f.next.Add(time.Duration(f.rng.ExpFloat64() / f.Rate * float64(time.Hour)))
}

// goOn lets everything happen in the repositories that happens until a time.
func (w *World) goOn(until time.Time) {
	if w.feeds == nil || w.feeds.next.IsZero() || w.feeds.next.After(until) {
		return
	}
	var repos []*Repo
	var upTo []float64 // the sum of the shares
	sum := 0.0
	for _, o := range w.Owners {
		for _, r := range o.Repos {
			if !r.Private && !r.Archived {
				sum += r.busy()
				repos, upTo = append(repos, r), append(upTo, sum)
			}
		}
	}
	for len(repos) > 0 && !w.feeds.next.After(until) {
		i, _ := slices.BinarySearch(upTo, w.feeds.rng.Float64()*sum)
		w.happens(repos[min(i, len(repos)-1)], w.feeds.next)
		w.feeds.wait()
	}
}

// happens draws something that happens in a repository.
func (w *World) happens(r *Repo, at time.Time) {
	rng := w.feeds.rng
	who := person{id: 1 + int64(rng.ExpFloat64()*20), login: ""}
	who.login = fmt.Sprintf("dev-%d", who.id)
	if rng.IntN(10) == 0 {
		who = person{49699333, "dependabot[bot]"}
	}
	draw := rng.Float64()
	for _, h := range []struct {
		what  string
		share float64
	}{
		{"push", .40}, {"star", .15}, {"unstar", .03}, {"fork", .04}, {"open issue", .10}, {"close issue", .07},
		{"open pull request", .09}, {"merge", .06}, {"close pull request", .02}, {"release", .01},
	} {
		if draw -= h.share; draw < 0 {
			w.Occur(r, h.what, who.login, at)
			return
		}
	}
	w.Occur(r, "comment", who.login, at)
}

// Occur makes something happen in a repository: "star", "unstar", "fork", "push",
// "open issue", "close issue", "open pull request", "review", "merge", "close pull
// request", "release" or "comment". The counters move as on GitHub. What cannot happen, such
// as closing where nothing is open, does not. A feed shows it if the world has feeds.
func (w *World) Occur(r *Repo, what, login string, at time.Time) {
	at = at.UTC().Truncate(time.Second) // as exact as GitHub says it
	who := person{int64(hash(0, login) >> 33), login}
	var typ string
	var payload map[string]any
	switch what {
	case "star":
		r.Stars++
		typ, payload = "WatchEvent", map[string]any{"action": "started"}
	case "unstar": // which no feed shows
		if r.Stars > 0 {
			r.Stars--
		}
		return
	case "fork":
		r.Forks++
		typ, payload = "ForkEvent", map[string]any{"forkee": map[string]any{"id": 9_000_000 + r.Forks, "full_name": login + "/" + r.Name, "owner": who.json(), "description": r.Description}}
		if !at.Before(trimmed()) {
			payload["action"] = "forked"
		}
	case "push":
		r.Commits++
		r.Branch, r.PushedAt, r.UpdatedAt = "main", at, at
		sha := fmt.Sprintf("%040x", hash(uint64(r.ID), strconv.FormatInt(r.Commits, 10)))
		typ, payload = "PushEvent", map[string]any{"repository_id": r.ID, "push_id": r.Commits, "ref": "refs/heads/main", "head": sha, "before": sha}
		if at.Before(trimmed()) {
			payload["size"], payload["distinct_size"] = 1, 1
			payload["commits"] = []any{map[string]any{"sha": sha, "message": "Change something", "author": map[string]any{"name": login, "email": login + "@example.com"}}}
		}
	case "open issue":
		r.OpenIssues++
		i := r.opened(who, at)
		r.openIssues = append(r.openIssues, i)
		typ, payload = "IssuesEvent", map[string]any{"action": "opened", "issue": i.json("open", time.Time{})}
	case "close issue":
		i := take(&r.openIssues)
		if i == nil {
			return
		}
		r.OpenIssues--
		r.ClosedIssues++
		typ, payload = "IssuesEvent", map[string]any{"action": "closed", "issue": i.json("closed", at)}
	case "open pull request":
		r.OpenPRs++
		i := r.opened(who, at)
		r.openPulls = append(r.openPulls, i)
		typ, payload = "PullRequestEvent", i.pull("opened", "open", at, time.Time{}, false)
	case "merge":
		i := take(&r.openPulls)
		if i == nil {
			return
		}
		r.OpenPRs--
		r.MergedPRs++
		action := "merged"
		if at.Before(trimmed()) {
			action = "closed"
		}
		typ, payload = "PullRequestEvent", i.pull(action, "closed", at, at, true)
	case "review":
		if len(r.openPulls) == 0 {
			return
		}
		i := r.openPulls[len(r.openPulls)-1]
		typ, payload = "PullRequestReviewEvent", map[string]any{"action": "created", "pull_request": i.pull("", "open", at, time.Time{}, false)["pull_request"],
			"review": map[string]any{"id": r.Commits, "user": who.json(), "body": "Well done", "state": "approved", "submitted_at": at.Format(time.RFC3339)}}
	case "close pull request":
		i := take(&r.openPulls)
		if i == nil {
			return
		}
		r.OpenPRs--
		r.ClosedPRs++
		typ, payload = "PullRequestEvent", i.pull("closed", "closed", at, at, false)
	case "release":
		r.Releases++
		r.LatestRelease = fmt.Sprintf("v%d", r.Releases)
		typ, payload = "ReleaseEvent", map[string]any{"action": "published", "release": map[string]any{"id": r.Releases, "tag_name": r.LatestRelease, "name": "A release",
			"body": "What is new", "author": who.json(), "created_at": at.Format(time.RFC3339), "published_at": at.Format(time.RFC3339)}}
	case "comment":
		if len(r.openIssues) == 0 {
			return
		}
		i := r.openIssues[int(r.Commits)%len(r.openIssues)]
		typ, payload = "IssueCommentEvent", map[string]any{"action": "created", "issue": i.json("open", time.Time{}), "comment": map[string]any{"id": r.Commits, "body": "I agree", "user": who.json(), "created_at": at.Format(time.RFC3339)}}
	default:
		panic(fmt.Sprintf("unknown happening %q", what)) // a test's mistake
	}
	r.UpdatedAt = at
	if w.feeds != nil {
		w.feeds.show(r, &Happening{Type: typ, At: at}, who, payload)
	}
}

// show gives an event an id, and decides whether and when the feed shows it.
func (f *feeds) show(r *Repo, h *Happening, who person, payload map[string]any) {
	sequence := 1
	if h.Type == "PushEvent" || h.Type == "CreateEvent" || h.Type == "DeleteEvent" {
		sequence = 0
	}
	f.ids[sequence] += 1 + f.rng.Int64N(50)
	h.ID = f.ids[sequence]
	if h.At.Before(trimmed()) { // before the ids began again
		h.ID += 30_000_000_000
	}
	late := time.Duration(f.rng.Float64() * float64(f.Latency) / 100)
	if f.rng.IntN(20) == 0 {
		late = time.Duration(f.rng.Float64() * float64(f.Latency))
	}
	lost, repeated := f.rng.Float64() < f.Lost, f.rng.Float64() < f.Repeated
	if h.Shown, h.copies = h.At.Add(late), 1; repeated {
		h.copies = 2
	}
	if lost {
		h.Shown = time.Time{}
	}
	name := r.owner.Login + "/" + r.Name
	var err error
	h.raw, err = json.Marshal(map[string]any{
		"id": strconv.FormatInt(h.ID, 10), "type": h.Type, "public": true, "created_at": h.At.Format(time.RFC3339),
		"actor":   map[string]any{"id": who.id, "login": who.login, "display_login": who.login, "gravatar_id": "", "url": "https://api.github.com/users/" + who.login},
		"repo":    map[string]any{"id": r.ID, "name": name, "url": "https://api.github.com/repos/" + name},
		"payload": payload,
	})
	if err != nil {
		panic(fmt.Errorf("encode an event: %w", err)) // it is made of what JSON knows
	}
	r.happened = append(r.happened, h)
	if n := len(r.happened); f.Keep > 0 && n > f.Keep {
		r.happened = r.happened[n-f.Keep:]
	}
}

// item is an issue or a pull request.
type item struct {
	number int64
	author person
	at     time.Time
}

func (r *Repo) opened(who person, at time.Time) *item {
	r.items++
	return &item{r.items, who, at}
}

func take(open *[]*item) *item {
	if len(*open) == 0 {
		return nil
	}
	i := (*open)[0]
	*open = (*open)[1:]
	return i
}

func (p person) json() map[string]any {
	typ := "User"
	if len(p.login) > 5 && p.login[len(p.login)-5:] == "[bot]" {
		typ = "Bot"
	}
	return map[string]any{"id": p.id, "login": p.login, "type": typ, "site_admin": false}
}

// timeOrNull is a time as GitHub writes it.
func timeOrNull(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.Format(time.RFC3339)
}

func (i *item) json(state string, closed time.Time) map[string]any {
	return map[string]any{"id": 1_000_000 + i.number, "number": i.number, "title": "Something is wrong", "body": "It does not work", "state": state, "user": i.author.json(),
		"created_at": i.at.Format(time.RFC3339), "closed_at": timeOrNull(closed), "comments": 0, "labels": []any{}}
}

// pull is the payload of a pull request's event. at is when it happens: since
// October 2025 payloads have little more than the number.
func (i *item) pull(action, state string, at, closed time.Time, merged bool) map[string]any {
	if !at.Before(trimmed()) {
		return map[string]any{"action": action, "number": i.number, "pull_request": map[string]any{"id": 2_000_000 + i.number, "number": i.number,
			"head": map[string]any{"ref": "change"}, "base": map[string]any{"ref": "main"}}}
	}
	pr := i.json(state, closed)
	pr["merged"], pr["merged_at"], pr["commits"] = merged, nil, 1
	if merged {
		pr["merged_at"] = closed.Format(time.RFC3339)
	}
	return map[string]any{"action": action, "number": i.number, "pull_request": pr}
}

// shown lists what a feed shows at a time, the newest first: at most FeedEvents, of
// the last FeedAge.
func shown(at time.Time, repos ...*Repo) (out []*Happening) {
	for _, r := range repos {
		for _, h := range r.happened {
			if h.Shown.IsZero() || h.Shown.After(at) || at.Sub(h.At) > FeedAge {
				continue
			}
			for range h.copies {
				out = append(out, h)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b *Happening) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID)) })
	return out[:min(len(out), FeedEvents)]
}
