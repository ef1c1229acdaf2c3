package fetchorg

import (
	"time"

	"github.com/shurcooL/githubv4"
)

// The queries, as githubv4 derives them from these structs. A field is a pointer
// wherever GitHub may answer null, which the decoder would turn into zeros.

// ownerQuery asks what kind of owner a login is.
type ownerQuery struct {
	RepositoryOwner *struct {
		Typename string `graphql:"__typename"`
		Login    string
	} `graphql:"repositoryOwner(login: $login)"`
	RateLimit *rateLimit
}

type organizationQuery struct {
	Owner     *owned `graphql:"organization(login: $login)"`
	RateLimit *rateLimit
}

type userQuery struct {
	Owner     *owned `graphql:"user(login: $login)"`
	RateLimit *rateLimit
}

// owned is one page of an owner's repositories. They come by the time of their
// creation, the one order that cannot change while they are being read.
type owned struct {
	Repositories *connection `graphql:"repositories(first: $first, after: $after, ownerAffiliations: OWNER, privacy: PUBLIC, orderBy: {field: CREATED_AT, direction: ASC})"`
}

type connection struct {
	TotalCount int64
	PageInfo   struct {
		HasNextPage bool
		EndCursor   string
	}
	Nodes []*node // nil where GitHub did not answer for a repository
}

// node is one repository with all its counters. Only the connections with
// "first" cost points: two of them, so that a page of up to 74 costs one.
type node struct {
	ID              string
	DatabaseID      *int64
	NameWithOwner   string
	Description     *string
	PrimaryLanguage *struct{ Name string }
	Languages       *struct {
		Edges []*struct {
			Size int64
			Node struct{ Name string }
		}
	} `graphql:"languages(first: 10, orderBy: {field: SIZE, direction: DESC})"`
	RepositoryTopics *struct {
		Nodes []*struct{ Topic struct{ Name string } }
	} `graphql:"repositoryTopics(first: 20)"`
	LicenseInfo      *struct{ SpdxID *string }
	DefaultBranchRef *struct {
		Name   string
		Target *struct {
			Commit struct{ History *count } `graphql:"... on Commit"`
		}
	}
	IsFork         bool
	IsArchived     bool
	CreatedAt      *time.Time
	PushedAt       *time.Time
	UpdatedAt      *time.Time
	StargazerCount int64
	ForkCount      *int64
	Watchers       *count
	OpenIssues     *count `graphql:"openIssues: issues(states: OPEN)"`
	ClosedIssues   *count `graphql:"closedIssues: issues(states: CLOSED)"`
	OpenPRs        *count `graphql:"openPRs: pullRequests(states: OPEN)"`
	MergedPRs      *count `graphql:"mergedPRs: pullRequests(states: MERGED)"`
	ClosedPRs      *count `graphql:"closedPRs: pullRequests(states: CLOSED)"`
	Discussions    *count
	Releases       *count
	LatestRelease  *struct {
		TagName     string
		PublishedAt *time.Time
	}
	DiskUsage *int64
}

type count struct{ TotalCount int64 }

type rateLimit struct {
	Cost      int64
	Remaining int64
	ResetAt   time.Time
}

func ownerVariables(login string) map[string]any {
	return map[string]any{"login": githubv4.String(login)}
}

func pageVariables(login, cursor string, size int) map[string]any {
	v := ownerVariables(login)
	v["first"] = githubv4.Int(size)
	v["after"] = (*githubv4.String)(nil)
	if cursor != "" {
		v["after"] = githubv4.NewString(githubv4.String(cursor))
	}
	return v
}
