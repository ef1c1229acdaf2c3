package github

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Counters is a repository with what is read of it in every sweep. It is
// exported for the decoder.
type Counters struct {
	ID               string
	DatabaseID       *int64
	NameWithOwner    string
	Description      *string
	PrimaryLanguage  *struct{ Name string }
	LicenseInfo      *struct{ SpdxID *string }
	DefaultBranchRef *struct{ Name string }
	IsFork           bool
	IsArchived       bool
	IsPrivate        bool
	CreatedAt        *timestamp
	PushedAt         *timestamp
	UpdatedAt        *timestamp
	StargazerCount   number
	ForkCount        *number
	Watchers         *count
	OpenIssues       *count `graphql:"openIssues: issues(states: OPEN)"`
	ClosedIssues     *count `graphql:"closedIssues: issues(states: CLOSED)"`
	OpenPRs          *count `graphql:"openPRs: pullRequests(states: OPEN)"`
	ClosedPRs        *count `graphql:"closedPRs: pullRequests(states: CLOSED)"`
	AssignableUsers  *count
	Discussions      *count
	Releases         *count
	LatestRelease    *struct {
		TagName     string
		PublishedAt *timestamp
	}
	DiskUsage *number
}

// Details is what changes only when a repository is pushed to or edited. Its two
// lists are what costs points.
type Details struct {
	Languages *struct {
		Edges []*struct {
			Size number
			Node struct{ Name string }
		}
	} `graphql:"languages(first: 10, orderBy: {field: SIZE, direction: DESC})"`
	RepositoryTopics *struct {
		Nodes []*struct{ Topic struct{ Name string } }
	} `graphql:"repositoryTopics(first: 20)"`
}

// Repo is a repository with its counters and, where they were asked for, its
// details.
type Repo struct {
	Counters
	Details
}

// Observation is what GitHub answered, with nil for what it left null. Languages,
// topics, commits and merged pull requests are not in it: they come with the
// details and the history, or from an earlier sweep. DatabaseID must not be nil.
func (r *Repo) Observation() repo.Observation {
	v := repo.Observation{
		ID: *r.DatabaseID, NodeID: r.ID, NameWithOwner: r.NameWithOwner, Description: r.Description,
		IsFork: r.IsFork, IsArchived: r.IsArchived,
		CreatedAt: r.CreatedAt.value(), PushedAt: r.Pushed(), UpdatedAt: r.Updated(),
		Stars: int64(r.StargazerCount), Forks: r.ForkCount.value(), Watchers: r.Watchers.total(),
		OpenIssues: r.OpenIssues.total(), ClosedIssues: r.ClosedIssues.total(),
		OpenPRs: r.OpenPRs.total(), ClosedPRs: r.ClosedPRs.total(),
		AssignableUsers: r.AssignableUsers.total(), Discussions: r.Discussions.total(), Releases: r.Releases.total(), DiskKB: r.DiskUsage.value(),
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
	return v
}

// Pushed is when the repository was last pushed to; nil if GitHub did not say.
func (n *Counters) Pushed() *time.Time { return n.PushedAt.value() }

// Updated is when the repository was last edited; nil if GitHub did not say.
func (n *Counters) Updated() *time.Time { return n.UpdatedAt.value() }

// Branch is the name of the default branch, "" for an empty repository.
func (n *Counters) Branch() string {
	if n.DefaultBranchRef == nil {
		return ""
	}
	return n.DefaultBranchRef.Name
}

// Values are the languages and topics; ok is false if GitHub left out either.
func (d *Details) Values() (languages []repo.Language, topics []string, ok bool) {
	if d.Languages == nil || d.RepositoryTopics == nil {
		return nil, nil, false
	}
	for _, e := range d.Languages.Edges {
		if e != nil {
			languages = append(languages, repo.Language{Name: e.Node.Name, Bytes: int64(e.Size)})
		}
	}
	for _, t := range d.RepositoryTopics.Nodes {
		if t != nil {
			topics = append(topics, t.Topic.Name)
		}
	}
	return languages, topics, true
}

// Counts are the commits on the default branch and the merged pull requests, nil
// for what GitHub did not count. whole says that it counted all there is: an
// empty repository has no branch.
func (h *History) Counts() (commits, merged *int64, whole bool) {
	b := h.DefaultBranchRef
	if b != nil && b.Target != nil {
		commits = b.Target.Commit.History.total()
	}
	merged = h.MergedPRs.total()
	return commits, merged, merged != nil && (b == nil || commits != nil)
}
