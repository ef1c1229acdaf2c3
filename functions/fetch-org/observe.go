package fetchorg

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// observe turns a repository as GitHub answered it into an observation. at is
// when the page was answered. It returns false for a node that GitHub left
// null, or without the id that would say whose counters these are.
func observe(n *node, o owner, sweepID string, at time.Time) (repo.Observation, bool) {
	if n == nil || n.DatabaseID == nil {
		return repo.Observation{}, false
	}
	r := repo.Observation{
		ID: *n.DatabaseID, NodeID: n.ID, NameWithOwner: n.NameWithOwner,
		OwnerType: o.Type, Company: o.Company, Description: n.Description,
		IsFork: n.IsFork, IsArchived: n.IsArchived,
		CreatedAt: n.CreatedAt, PushedAt: n.PushedAt, UpdatedAt: n.UpdatedAt,
		Stars: n.StargazerCount, Forks: n.ForkCount, Watchers: n.Watchers.total(),
		OpenIssues: n.OpenIssues.total(), ClosedIssues: n.ClosedIssues.total(),
		OpenPRs: n.OpenPRs.total(), MergedPRs: n.MergedPRs.total(), ClosedPRs: n.ClosedPRs.total(),
		Discussions: n.Discussions.total(), Releases: n.Releases.total(), DiskKB: n.DiskUsage,
		ObservedAt: at, SweepID: sweepID, Source: "graphql",
	}
	if n.PrimaryLanguage != nil {
		r.PrimaryLanguage = &n.PrimaryLanguage.Name
	}
	if n.Languages != nil {
		for _, e := range n.Languages.Edges {
			if e != nil {
				r.Languages = append(r.Languages, repo.Language{Name: e.Node.Name, Bytes: e.Size})
			}
		}
	}
	if n.RepositoryTopics != nil {
		for _, t := range n.RepositoryTopics.Nodes {
			if t != nil {
				r.Topics = append(r.Topics, t.Topic.Name)
			}
		}
	}
	if n.LicenseInfo != nil {
		r.License = n.LicenseInfo.SpdxID
	}
	if b := n.DefaultBranchRef; b != nil {
		r.DefaultBranch = &b.Name
		if b.Target != nil {
			r.CommitsTotal = b.Target.Commit.History.total()
		}
	}
	if n.LatestRelease != nil {
		r.LatestRelease, r.LatestReleaseAt = &n.LatestRelease.TagName, n.LatestRelease.PublishedAt
	}
	r.Normalize()
	return r, true
}

// total is nil for a count that GitHub did not answer.
func (c *count) total() *int64 {
	if c == nil {
		return nil
	}
	return &c.TotalCount
}
