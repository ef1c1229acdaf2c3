package github

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/shurcooL/githubv4"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// The queries, as githubv4 derives them from these structs. A field is a pointer
// wherever GitHub may answer null, which the decoder would turn into zeros.

// shape is a kind of query. How many repositories one query may ask for is learnt
// for each shape, since each takes GitHub a different time.
type Shape struct {
	name  string
	first int   // repositories in the first query ever; 0 means PAGE_SIZE
	max   int   // that GitHub allows
	lists int64 // connections with "first" inside each repository
	page  bool  // the repositories are a connection too
	half  bool  // first half of a step, whose other half asks for the histories
	other bool  // that other half, which does not wait its turn again
}

// The shapes. All counters of a repository come with the list of its owner's
// repositories, in the first sweep with their details. Later a repository that
// has changed is asked for by id, with details, together with others like it. The
// history is always a query of its own.
var (
	shapeOwner   = Shape{name: "owner", first: 1, max: 1}
	shapeNamed   = Shape{name: "repository", first: 1, max: 1, lists: 2}
	ShapeList    = Shape{name: "list", max: 100, page: true}
	shapeListAll = Shape{name: "list+details", max: 100, lists: 2, page: true, half: true}
	shapeIDs     = Shape{name: "ids", first: 100, max: 100, page: true}
	ShapeNodes   = Shape{name: "nodes", max: 100, lists: 2, half: true}
	ShapeHistory = Shape{name: "history", max: 100, other: true}
)

// points is what a query for n repositories costs by GitHub's formula: the
// requests that its connections would need, by the hundred, at least 1. GitHub
// does not count a connection that is asked only for its totalCount.
func (s Shape) points(n int) int64 {
	requests := s.lists * int64(n)
	if s.page {
		requests++
	}
	return max(1, (requests+50)/100)
}

// viewerQuery asks whose token it is.
type viewerQuery struct {
	Viewer    struct{ Login string }
	RateLimit *rateLimit
}

// ownerQuery asks what kind of owner a login is.
type ownerQuery struct {
	RepositoryOwner *struct {
		Typename string `graphql:"__typename"`
		Login    string
	} `graphql:"repositoryOwner(login: $login)"`
	RateLimit *rateLimit
}

// organizationQuery and userQuery ask for one page of an owner's repositories,
// each as an N.
type organizationQuery[N any] struct {
	Owner     *owned[N] `graphql:"organization(login: $login)"`
	RateLimit *rateLimit
}

type userQuery[N any] struct {
	Owner     *owned[N] `graphql:"user(login: $login)"`
	RateLimit *rateLimit
}

// owned is one page of an owner's repositories. They come by the time of their
// creation, the one order that cannot change while they are being read.
type owned[N any] struct {
	Repositories *connection[N] `graphql:"repositories(first: $first, after: $after, ownerAffiliations: OWNER, privacy: PUBLIC, orderBy: {field: CREATED_AT, direction: ASC})"`
}

type connection[N any] struct {
	TotalCount number
	PageInfo   struct {
		HasNextPage bool
		EndCursor   string
	}
	Nodes []*N // nil where GitHub did not answer for a repository
}

// nodesQuery asks for repositories by id, each as an N. A node is nil where
// there is none, or where GitHub did not answer.
type nodesQuery[N any] struct {
	Nodes []*struct {
		Repository N `graphql:"... on Repository"`
	} `graphql:"nodes(ids: $ids)"`
	RateLimit *rateLimit
}

// repositoryQuery asks for one repository by name.
type repositoryQuery struct {
	Repository *Repo `graphql:"repository(owner: $owner, name: $name)"`
	RateLimit  *rateLimit
}

// ID is a repository's ids alone.
type ID struct {
	ID         string
	DatabaseID *int64
}

// History is what only a push can change: the number of commits on the default
// branch, which GitHub counts one by one, and of merged pull requests.
type History struct {
	ID               string
	MergedPRs        *count `graphql:"mergedPRs: pullRequests(states: MERGED)"`
	DefaultBranchRef *struct {
		Target *struct {
			Commit struct{ History *count } `graphql:"... on Commit"`
		}
	}
}

type count struct{ TotalCount number }

// total is nil for a count that GitHub did not answer.
func (c *count) total() *int64 {
	if c == nil {
		return nil
	}
	return c.TotalCount.value()
}

type rateLimit struct {
	Cost      number
	Limit     number
	Remaining number
	ResetAt   timestamp
}

// points is what the query cost, 0 if GitHub did not say.
func (r *rateLimit) points() int64 {
	if r == nil {
		return 0
	}
	return max(0, int64(r.Cost))
}

// number is an Int of GitHub's. An impossible value becomes -1, so that one field
// does not make the whole page unreadable.
type number int64

// UnmarshalJSON never fails.
func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || v < 0 {
		v = -1
	}
	*n = number(v)
	return nil
}

// value is nil for a number that GitHub did not answer.
func (n *number) value() *int64 {
	if n == nil {
		return nil
	}
	return new(int64(*n))
}

// timestamp is a DateTime of GitHub's. An invalid one becomes the zero time.
type timestamp struct{ time.Time }

// UnmarshalJSON never fails. The zone is dropped: not every one that is read can
// be written again.
func (t *timestamp) UnmarshalJSON(b []byte) error {
	var at time.Time
	if json.Unmarshal(b, &at) == nil && at.UTC().Year() > 0 {
		t.Time = at.UTC()
		return nil
	}
	t.Time = time.Time{}
	return nil
}

// value is nil for a time that GitHub did not answer.
func (t *timestamp) value() *time.Time {
	if t == nil {
		return nil
	}
	return &t.Time
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

func idVariables(ids []string) map[string]any {
	list := make([]githubv4.ID, len(ids))
	for i, id := range ids {
		list[i] = id
	}
	return map[string]any{"ids": list}
}

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
