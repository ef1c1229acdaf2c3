package github

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// World is what the server knows: owners and their repositories. It may live:
// then it changes with time, always in the same way for one seed.
type World struct {
	Owners []*Owner

	life   *life
	feeds  *feeds // nil: nothing is shown
	byID   map[int64]*Repo
	gone   []*Repo          // that no owner has any more
	names  map[string]int64 // that a repository once had, by owner/name in lower case
	nextID int64
}

// Owner is an organization or a user.
type Owner struct {
	Login  string
	Type   string // Organization or User
	Repos  []*Repo
	Denies *Denial  // why nothing of it is shown, if so
	Admits []string // the users to whom it is shown all the same

	weight float64 // of its repositories, for the time that GitHub needs
	public []*Repo // by creation; nil if it has to be made again
}

// Denial is how an organization keeps a token out.
type Denial struct {
	saml    bool
	message string
}

// The ways to keep a token out.
var (
	SAML          = &Denial{true, "Resource protected by organization SAML enforcement. You must grant your Personal Access token access to this organization."}
	ClassicTokens = &Denial{false, "`%s` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a personal access token with fine-grained permissions."}
	IPAllowList   = &Denial{false, "Although you appear to have the correct authorization credentials, the `%s` organization has an IP allow list enabled, and your IP address is not permitted to access this resource."}
)

func (o *Owner) denies(user string) bool {
	return o.Denies != nil && !slices.Contains(o.Admits, user)
}

func (d *Denial) failure(login string) *failure {
	return &failure{Type: "FORBIDDEN", Extensions: map[string]any{"saml_failure": d.saml}, Message: strings.ReplaceAll(d.message, "%s", login)}
}

// Repo is a repository with all its counters.
type Repo struct {
	ID            int64
	Name          string
	Description   string // "": GitHub answers null
	Language      string // "": null, as for an empty repository
	Languages     []Language
	Topics        []string
	License       string // SPDX id, "": null
	Branch        string // "": no default branch, as for an empty repository
	Commits       int64
	Fork          bool
	Archived      bool
	Private       bool
	CreatedAt     time.Time
	PushedAt      time.Time
	UpdatedAt     time.Time // zero: PushedAt
	Stars         int64     // at CreatedAt, if the repository drifts
	Drift         float64   // stars an hour; with it, single stars come and go
	Forks         int64
	Watchers      int64
	OpenIssues    int64
	ClosedIssues  int64
	OpenPRs       int64
	MergedPRs     int64
	ClosedPRs     int64
	Assignable    int64 // people who can be given work
	Discussions   int64
	Releases      int64
	LatestRelease string // "": null
	DiskKB        int64
	// Busy is its share of what goes on, where there are feeds; 0: drawn by its id.
	Busy float64
	// Unanswered makes every query that counts something of the repository fail with
	// GitHub's resource limit, so that all of the repository is null in it.
	Unanswered bool

	owner   *Owner
	tenures []tenure

	happened              []*Happening
	items                 int64   // issues and pull requests so far that events have opened
	openIssues, openPulls []*item // of these
}

// Language is one language of a repository.
type Language struct {
	Name  string
	Bytes int64
}

// tenure is a time during which a repository was publicly an owner's, under one
// name.
type tenure struct {
	owner, name string
	from, to    time.Time // zero: since ever, still
}

func (r *Repo) updated() time.Time {
	if r.UpdatedAt.IsZero() {
		return r.PushedAt
	}
	return r.UpdatedAt
}

// counted are the connections that answer nothing but how many they have, by the
// name of their field.
func (r *Repo) counted(at time.Time) map[string]connection {
	return map[string]connection{
		"watchers":        {name: "UserConnection", total: r.Watchers},
		"assignableUsers": {name: "UserConnection", total: r.Assignable},
		"stargazers":      {name: "StargazerConnection", total: r.stars(at)},
		"forks":           {name: "RepositoryConnection", total: r.Forks},
		"discussions":     {name: "DiscussionConnection", total: r.Discussions},
		"releases":        {name: "ReleaseConnection", total: r.Releases},
	}
}

// stars are those of a time. Of a repository that drifts, a few stars come and
// go in each quarter of an hour.
func (r *Repo) stars(at time.Time) int64 {
	if r.Drift == 0 {
		return r.Stars
	}
	quarter := at.Unix() / 900
	wiggle := rand.New(rand.NewPCG(uint64(r.ID), uint64(quarter))).Int64N(5) - 2
	return max(0, r.Stars+int64(math.Floor(r.Drift*at.Sub(r.CreatedAt).Hours()))+wiggle)
}

// NewWorld makes a small world that does not change, always the same: the
// organization Acme with seven public repositories and a private one, and the
// user jane with three.
func NewWorld() *World {
	acme := &Owner{Login: "Acme", Type: "Organization"}
	for i := range 7 {
		acme.Repos = append(acme.Repos, newRepo(1000, i))
	}
	hidden := newRepo(1000, 7)
	hidden.Private = true
	acme.Repos = append(acme.Repos, hidden)
	jane := &Owner{Login: "jane", Type: "User"}
	for i := range 3 {
		jane.Repos = append(jane.Repos, newRepo(2000, i))
	}
	empty := jane.Repos[2]
	empty.Description, empty.Language, empty.Languages, empty.License = "", "", nil, ""
	empty.Branch, empty.LatestRelease, empty.Commits, empty.Releases = "", "", 0, 0
	w := &World{Owners: []*Owner{acme, jane}}
	w.index(time.Time{})
	return w
}

// newRepo makes the i-th repository of an owner. Each counter differs from the
// others, so that none can be mistaken for another.
func newRepo(base int64, i int) *Repo {
	n := base + int64(i)
	created := time.Date(2015, 1, 1+i, 12, 0, 0, 0, time.UTC)
	return &Repo{
		ID: n, Name: fmt.Sprintf("repo-%d", i), Description: fmt.Sprintf("The %d. of them", i),
		Language:  "Go",
		Languages: []Language{{"Go", 10 * n}, {"Shell", n}},
		Topics:    []string{"kafka", fmt.Sprintf("topic-%d", i)},
		License:   "MIT", Branch: "main", Commits: n + 1, Fork: i%5 == 4, Archived: i%5 == 3,
		CreatedAt: created, PushedAt: created.AddDate(10, 0, 0),
		Stars: 100 * n, Forks: n + 2, Watchers: n + 3, OpenIssues: n + 4, ClosedIssues: n + 5,
		OpenPRs: n + 6, MergedPRs: n + 7, ClosedPRs: n + 8, Discussions: n + 9, Releases: n + 10, Assignable: n + 12,
		LatestRelease: "v1." + fmt.Sprint(i), DiskKB: n + 11,
	}
}

// Plan is a world to be generated.
type Plan struct {
	Seed   uint64
	Owners []OwnerPlan
	Start  time.Time // when its life begins; what is there then was made in the years before
	Life   Life
	Feeds  Feeds // what goes on in its repositories; nothing if Rate is 0
}

// OwnerPlan is one owner of a plan.
type OwnerPlan struct {
	Login string
	User  bool // not an organization
	Repos int  // public ones
}

// Life is how often something happens, per hour, in a thousand repositories.
type Life struct {
	Created, Deleted, Renamed, Transferred, Archived, Hidden, Pushed float64
}

// Generate makes a world.
func Generate(p Plan) *World {
	w := &World{nextID: 1}
	for i, plan := range p.Owners {
		rng := rand.New(rand.NewPCG(p.Seed, uint64(i)))
		o := &Owner{Login: plan.Login, Type: "Organization", weight: math.Exp(0.15 * rng.NormFloat64())}
		if plan.User {
			o.Type = "User"
		}
		for range plan.Repos {
			age := time.Duration(rng.Float64() * float64(10*365*24*time.Hour))
			o.Repos = append(o.Repos, w.generate(rng, p.Start.Add(-age).Truncate(time.Second), p.Start))
		}
		w.Owners = append(w.Owners, o)
	}
	w.index(time.Time{})
	w.life = &life{Life: p.Life, rng: rand.New(rand.NewPCG(p.Seed, math.MaxUint64)), next: p.Start}
	w.life.wait(w)
	if p.Feeds.Rate > 0 {
		w.Begin(p.Feeds, p.Start)
	}
	return w
}

// generate makes a repository as it is at a time: most have a few stars, few
// have many.
func (w *World) generate(rng *rand.Rand, created, now time.Time) *Repo {
	id := w.nextID
	w.nextID++
	size := int64(math.Exp(min(rng.ExpFloat64()*2, 12)))
	some := func(share float64) int64 { return int64(rng.Float64() * share * float64(size)) }
	languages := []string{"Go", "Python", "TypeScript", "C++", "Rust", "Java"}
	main := languages[rng.IntN(len(languages))]
	r := &Repo{
		ID: id, Name: fmt.Sprintf("repo-%d", id), Description: fmt.Sprintf("Number %d", id),
		Language: main, Languages: []Language{{main, 1000 * size}, {"Shell", size}},
		Topics: []string{"topic-" + fmt.Sprint(id%50)}, License: "Apache-2.0", Branch: "main",
		Commits: size + some(9), Fork: rng.IntN(5) == 0, Archived: rng.IntN(10) == 0,
		CreatedAt: created, PushedAt: created.Add(time.Duration(rng.Float64() * float64(now.Sub(created)))).Truncate(time.Second),
		Stars: size, Drift: 0.001 + float64(size)/10_000, Forks: some(.3), Watchers: some(.2),
		OpenIssues: some(.5), ClosedIssues: some(2), OpenPRs: some(.2), MergedPRs: some(2), ClosedPRs: some(.4),
		Assignable: 1 + size/50, Discussions: some(.1), Releases: some(.05), DiskKB: size * 10,
	}
	if r.Releases > 0 {
		r.LatestRelease = fmt.Sprintf("v%d", r.Releases)
	}
	return r
}

// Owner finds an owner by login, whatever its case; nil if there is none.
func (w *World) Owner(login string) *Owner {
	for _, o := range w.Owners {
		if strings.EqualFold(o.Login, login) {
			return o
		}
	}
	return nil
}

// named finds a public repository by its name, or by one that it once had.
func (w *World) named(login, name string, follow bool) *Repo {
	if o := w.Owner(login); o != nil {
		for _, r := range o.Repos {
			if !r.Private && strings.EqualFold(r.Name, name) {
				return r
			}
		}
	}
	if !follow {
		return nil
	}
	r := w.byID[w.names[strings.ToLower(login+"/"+name)]]
	if r == nil || r.Private {
		return nil
	}
	return r
}

// listed is an owner's public repositories in an order.
func (w *World) listed(o *Owner, order map[string]any, at time.Time) []*Repo {
	if o.public == nil {
		o.public = make([]*Repo, 0, len(o.Repos))
		for _, r := range o.Repos {
			if !r.Private {
				o.public = append(o.public, r)
			}
		}
		slices.SortFunc(o.public, func(a, b *Repo) int {
			return cmp.Or(cmp.Compare(a.CreatedAt.Unix(), b.CreatedAt.Unix()), cmp.Compare(a.ID, b.ID))
		})
	}
	if order["field"] == "CREATED_AT" && order["direction"] == "ASC" {
		return o.public
	}
	s := sorting(order, at)
	all := slices.Clone(o.public)
	slices.SortFunc(all, func(a, b *Repo) int { return s.compare(s.place(a), s.place(b)) })
	return all
}

// index brings what the world remembers up to what its owners have, at a time.
func (w *World) index(at time.Time) {
	was := w.byID
	w.byID = map[int64]*Repo{}
	for _, o := range w.Owners {
		o.public = nil
		if o.weight == 0 {
			o.weight = 1
		}
		for _, r := range o.Repos {
			r.owner = o
			w.byID[r.ID] = r
			w.nextID = max(w.nextID, r.ID+1)
			w.note(r, at)
		}
	}
	for id, r := range was {
		if w.byID[id] == nil {
			w.forget(r, at)
		}
	}
}

// note writes down whose a repository is, and how it is called, from a time on.
func (w *World) note(r *Repo, at time.Time) {
	r.owner.public = nil
	now := tenure{owner: strings.ToLower(r.owner.Login), name: r.Name, from: at}
	if n := len(r.tenures); n > 0 && r.tenures[n-1].to.IsZero() {
		last := &r.tenures[n-1]
		if !r.Private && last.owner == now.owner && last.name == now.name {
			return
		}
		last.to = at
		if w.names == nil {
			w.names = map[string]int64{}
		}
		w.names[last.owner+"/"+strings.ToLower(last.name)] = r.ID
	}
	if !r.Private {
		r.tenures = append(r.tenures, now)
	}
}

// find finds a repository that is or was.
func (w *World) find(id int64) *Repo {
	if r := w.byID[id]; r != nil {
		return r
	}
	if i := slices.IndexFunc(w.gone, func(r *Repo) bool { return r.ID == id }); i >= 0 {
		return w.gone[i]
	}
	return nil
}

// forget records that a repository is deleted.
func (w *World) forget(r *Repo, at time.Time) {
	if n := len(r.tenures); n > 0 && r.tenures[n-1].to.IsZero() {
		r.tenures[n-1].to = at
	}
	delete(w.byID, r.ID)
	w.gone = append(w.gone, r)
}

// Truth is what a list of an owner's repositories, made within a time, has to
// hold, and what it may hold.
type Truth struct {
	Throughout map[int64]bool // public repositories of the owner all the time
	Ever       map[int64]bool // at any moment of it
}

// truth reads the record of the world.
func (w *World) truth(login string, from, to time.Time) Truth {
	t := Truth{map[int64]bool{}, map[int64]bool{}}
	login = strings.ToLower(login)
	see := func(r *Repo) {
		var covered time.Time // up to which it was the owner's without a break from
		for _, one := range r.tenures {
			if one.owner != login || one.from.After(to) || !one.to.IsZero() && one.to.Before(from) {
				continue
			}
			t.Ever[r.ID] = true
			if !one.from.After(from) || one.from.Equal(covered) {
				if one.to.IsZero() || one.to.After(to) {
					t.Throughout[r.ID] = true
				}
				covered = one.to
			}
		}
	}
	for _, r := range w.byID {
		see(r)
	}
	for _, r := range w.gone {
		see(r)
	}
	return t
}

// life is what happens in a world, one event after the other.
type life struct {
	Life
	rng  *rand.Rand
	next time.Time
}

// wait draws the time of the next event.
func (l *life) wait(w *World) {
	rate := l.Created + l.Deleted + l.Renamed + l.Transferred + l.Archived + l.Hidden + l.Pushed
	rate *= float64(max(len(w.byID), 1)) / 1000
	if rate <= 0 {
		l.next = time.Time{}
		return
	}
	l.next = l.next.Add(time.Duration(l.rng.ExpFloat64() / rate * float64(time.Hour)))
}

// Pass lets everything happen that happens until a time, in a world that no server shows.
func (w *World) Pass(until time.Time) { w.live(until) }

// Happened lists all that has happened in a repository, shown by its feed or not, in order.
func (w *World) Happened(id int64) (all []Happening) {
	if r := w.find(id); r != nil {
		for _, h := range r.happened {
			all = append(all, *h)
		}
	}
	return all
}

// live lets everything happen that happens until a time.
func (w *World) live(until time.Time) {
	for w.life != nil && !w.life.next.IsZero() && !w.life.next.After(until) {
		w.goOn(w.life.next)
		w.happen(w.life.next)
		w.life.wait(w)
	}
	w.goOn(until)
}

func (w *World) happen(at time.Time) {
	l := w.life
	draw := l.rng.Float64() * (l.Created + l.Deleted + l.Renamed + l.Transferred + l.Archived + l.Hidden + l.Pushed)
	next := func(rate float64) bool {
		draw -= rate
		return draw < 0
	}
	o := w.Owners[l.rng.IntN(len(w.Owners))]
	if next(l.Created) {
		r := w.generate(l.rng, at, at)
		r.Stars = 0
		if w.feeds != nil {
			r.Drift = 0
		}
		r.owner = o
		o.Repos = append(o.Repos, r)
		w.byID[r.ID] = r
		w.note(r, at)
		return
	}
	r := w.pick(l.rng)
	if r == nil {
		return
	}
	switch {
	case next(l.Deleted):
		r.owner.Repos = slices.DeleteFunc(r.owner.Repos, func(other *Repo) bool { return other == r })
		r.owner.public = nil
		w.forget(r, at)
	case next(l.Renamed):
		r.Name = fmt.Sprintf("repo-%d-%d", r.ID, len(r.tenures))
		r.UpdatedAt = at
		w.note(r, at)
	case next(l.Transferred):
		r.owner.Repos = slices.DeleteFunc(r.owner.Repos, func(other *Repo) bool { return other == r })
		r.owner.public = nil
		o.Repos = append(o.Repos, r)
		r.owner, r.UpdatedAt = o, at
		w.note(r, at)
	case next(l.Archived):
		r.Archived, r.UpdatedAt = !r.Archived, at
	case next(l.Hidden):
		r.Private = !r.Private
		w.note(r, at)
	case w.feeds != nil:
		w.Occur(r, "push", "dev-1", at)
	default:
		r.Commits++
		r.Branch, r.PushedAt, r.UpdatedAt = "main", at, at
	}
}

// pick draws a repository, public or not.
func (w *World) pick(rng *rand.Rand) *Repo {
	total := 0
	for _, o := range w.Owners {
		total += len(o.Repos)
	}
	if total == 0 {
		return nil
	}
	n := rng.IntN(total)
	for _, o := range w.Owners {
		if n < len(o.Repos) {
			return o.Repos[n]
		}
		n -= len(o.Repos)
	}
	return nil
}
