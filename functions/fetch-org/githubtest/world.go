package githubtest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// World is what the server knows: owners and their repositories.
type World struct {
	Owners []*Owner
}

// Owner is an organization or a user.
type Owner struct {
	Login string
	Type  string // Organization or User
	Repos []*Repo
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
	Stars         int64
	Forks         int64
	Watchers      int64
	OpenIssues    int64
	ClosedIssues  int64
	OpenPRs       int64
	MergedPRs     int64
	ClosedPRs     int64
	Discussions   int64
	Releases      int64
	LatestRelease string // "": null
	DiskKB        int64
	// Unanswered makes GitHub answer null for the whole repository.
	Unanswered bool
}

// Language is one language of a repository.
type Language struct {
	Name  string
	Bytes int64
}

// NewWorld makes a small world, always the same: the organization Acme with
// seven public repositories and a private one, and the user jane with three.
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
	return &World{Owners: []*Owner{acme, jane}}
}

// newRepo makes the i-th repository of an owner. Each counter differs from the
// others, so that none can stand in for another unseen.
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
		OpenPRs: n + 6, MergedPRs: n + 7, ClosedPRs: n + 8, Discussions: n + 9, Releases: n + 10,
		LatestRelease: "v1." + fmt.Sprint(i), DiskKB: n + 11,
	}
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

// public lists an owner's public repositories in the order of their creation.
func (o *Owner) public() []*Repo {
	var repos []*Repo
	for _, r := range o.Repos {
		if !r.Private {
			repos = append(repos, r)
		}
	}
	slices.SortFunc(repos, func(a, b *Repo) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return int(a.ID - b.ID)
	})
	return repos
}
