// Package github asks GitHub's GraphQL API for the repositories of owners: within
// the budgets of the tokens' users, which all replicas share in Redis, and in pages
// as wide as each shape of query allows. It knows nothing of sweeps.
package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/shurcooL/githubv4"

	"github.com/m7pulse/m7pulse/shared/quota"
)

// Client asks GitHub. Its methods may be called at the same time. Each waits for
// room in the budgets as long as its context leaves time for the answer, and fails
// with *RateLimitedError if there is none, *NoAnswerError if GitHub gives no usable
// answer within 11 s, or *RefusedError if it refuses every token.
type Client struct {
	url       string
	host      string
	transport http.RoundTripper
	tokens    *quota.Tokens
	budgets   *quota.Budgets
	widths    *widths

	mu    sync.Mutex
	asked map[string]time.Time // when each question of the last second was answered
}

// New returns a client that keeps budgets and widths in rdb. It connects to nothing.
func New(cfg Config, rdb redis.UniversalClient, transport http.RoundTripper) *Client {
	at, _ := url.Parse(cfg.URL) // checked with the configuration
	return &Client{
		url: cfg.URL, host: at.Host, transport: transport, tokens: quota.NewTokens(string(cfg.Tokens)),
		budgets: quota.New(rdb, "", limits()), widths: &widths{rdb, cfg.PageSize}, asked: map[string]time.Time{},
	}
}

// Tokens is how many tokens are configured.
func (g *Client) Tokens() int { return len(g.tokens.Each) }

// Err says why GitHub cannot be asked at present: ErrNoToken, or that it has
// refused every token. It is nil otherwise.
func (g *Client) Err() error {
	switch {
	case g.Tokens() == 0:
		return ErrNoToken
	case g.tokens.Refused():
		return quota.ErrRefused
	}
	return nil
}

// Owner is an owner as GitHub knows it.
type Owner struct {
	Login string // as GitHub spells it
	Type  string // Organization or User
}

// Owner finds out what kind of owner a login is. It fails with ErrUnknownOwner if
// there is none.
func (g *Client) Owner(ctx context.Context, login string, u *Usage) (Owner, error) {
	var q ownerQuery
	if _, err := g.ask(ctx, question{shapeOwner, 1, ownerVariables(login), &q, &q.RateLimit, u}); err != nil {
		return Owner{}, fmt.Errorf("ask for owner %s: %w", login, err)
	}
	if q.RepositoryOwner == nil {
		return Owner{}, fmt.Errorf("ask for owner %s: %w", login, ErrUnknownOwner)
	}
	return Owner{Login: q.RepositoryOwner.Login, Type: q.RepositoryOwner.Typename}, nil
}

// Page is one page of an owner's repositories, each as an N.
type Page[N any] struct {
	At    time.Time // when GitHub answered
	Total *int64    // repositories the owner has in all; nil if GitHub did not answer a number
	Nodes []*N
	Nulls int    // nodes that GitHub left out
	Next  string // cursor; "" after the last page
	Stuck bool   // there are more, but no other cursor than this page's to reach them
}

// Width is how many repositories one query of a shape asks for, as far as that
// has been learnt.
func (g *Client) Width(ctx context.Context, s Shape) (int, error) {
	w, err := g.widths.of(ctx, s)
	return min(w.n(), s.max), err
}

// List reads the page of an owner's repositories that comes after a cursor, "" for
// the first, as wide as has been learnt. details says whether their details are
// asked for with the counters.
func (g *Client) List(ctx context.Context, o Owner, cursor string, details bool, u *Usage) (Page[Repo], error) {
	if details {
		return listed[Repo](ctx, g, shapeListAll, o, cursor, u)
	}
	p, err := listed[Counters](ctx, g, ShapeList, o, cursor, u)
	all := Page[Repo]{At: p.At, Total: p.Total, Nulls: p.Nulls, Next: p.Next, Stuck: p.Stuck}
	for _, n := range p.Nodes {
		all.Nodes = append(all.Nodes, &Repo{Counters: *n})
	}
	return all, err
}

// ListIDs reads the same page by ids alone, which GitHub can answer for where it
// cannot for a whole repository. first is how many repositories the page has, 0
// for as many as has been learnt.
func (g *Client) ListIDs(ctx context.Context, o Owner, cursor string, first int, u *Usage) (Page[ID], error) {
	if first == 0 {
		return listed[ID](ctx, g, shapeIDs, o, cursor, u)
	}
	return list[ID](ctx, g, shapeIDs, o, cursor, first, u)
}

// listed reads a page as wide as the shape allows.
func listed[N any](ctx context.Context, g *Client, s Shape, o Owner, cursor string, u *Usage) (Page[N], error) {
	first, err := g.Width(ctx, s)
	if err != nil {
		return Page[N]{}, err
	}
	return list[N](ctx, g, s, o, cursor, first, u)
}

// list reads the repositories of an owner that come after a cursor.
func list[N any](ctx context.Context, g *Client, s Shape, o Owner, cursor string, first int, u *Usage) (Page[N], error) {
	var (
		variables = pageVariables(o.Login, cursor, first)
		of        *owned[N]
		x         *exchange
		err       error
	)
	if o.Type == "Organization" {
		var q organizationQuery[N]
		x, err = g.ask(ctx, question{s, first, variables, &q, &q.RateLimit, u})
		of = q.Owner
	} else {
		var q userQuery[N]
		x, err = g.ask(ctx, question{s, first, variables, &q, &q.RateLimit, u})
		of = q.Owner
	}
	if err == nil && (of == nil || of.Repositories == nil) {
		err = &NoAnswerError{Cause: errors.New("an answer without repositories")}
	}
	if err == nil {
		// GitHub's resource limit can leave the whole list null.
		if of.Repositories.PageInfo.EndCursor != "" && len(of.Repositories.Nodes) == 0 {
			err = &NoAnswerError{Killed: x.hasError(resourceLimits), Cause: errors.New("a page without its repositories")}
		}
	}
	if err != nil {
		return Page[N]{}, fmt.Errorf("ask for repositories of %s after %q: %w", o.Login, cursor, err)
	}
	p := Page[N]{At: x.at}
	if total := of.Repositories.TotalCount; total >= 0 {
		p.Total = total.value()
	}
	if info := of.Repositories.PageInfo; info.HasNextPage {
		p.Next = info.EndCursor
		p.Stuck = info.EndCursor == "" || info.EndCursor == cursor
	}
	for _, n := range of.Repositories.Nodes {
		if n == nil {
			p.Nulls++
			continue
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p, nil
}

// Found is what GitHub answers for one id.
type Found[N any] struct {
	At   time.Time
	Node *N   // nil if it is gone, or GitHub did not answer
	Gone bool // GitHub says that none has that id
}

// Nodes asks for some repositories by id, with their details; at most Width of
// ShapeNodes. The answers are in the order of the ids.
func (g *Client) Nodes(ctx context.Context, ids []string, u *Usage) ([]Found[Repo], error) {
	return byID[Repo](ctx, g, ShapeNodes, ids, u)
}

// Histories asks for the histories of some repositories by id; at most Width of
// ShapeHistory. The answers are in the order of the ids.
func (g *Client) Histories(ctx context.Context, ids []string, u *Usage) ([]Found[History], error) {
	return byID[History](ctx, g, ShapeHistory, ids, u)
}

// byID asks for some repositories by id, as many as one query of the shape
// allows. The answers are in the order of the ids.
func byID[N any](ctx context.Context, g *Client, s Shape, ids []string, u *Usage) ([]Found[N], error) {
	var q nodesQuery[N]
	x, err := g.ask(ctx, question{s, len(ids), idVariables(ids), &q, &q.RateLimit, u})
	if err == nil && len(q.Nodes) != len(ids) {
		err = &NoAnswerError{Cause: fmt.Errorf("%d answers to %d ids", len(q.Nodes), len(ids))}
	}
	if err != nil {
		return nil, fmt.Errorf("ask for %d repositories by id: %w", len(ids), err)
	}
	answers := make([]Found[N], len(ids))
	for i, n := range q.Nodes {
		answers[i].At = x.at
		if n == nil {
			answers[i].Gone = x.gone(i)
			continue
		}
		answers[i].Node = &n.Repository
	}
	return answers, nil
}

// Named asks for one repository by name, with its details; nil if there is none.
func (g *Client) Named(ctx context.Context, login, name string, u *Usage) (*Repo, time.Time, error) {
	var q repositoryQuery
	x, err := g.ask(ctx, question{shapeNamed, 1, map[string]any{"owner": githubv4.String(login), "name": githubv4.String(name)}, &q, &q.RateLimit, u})
	if errors.Is(err, ErrUnknownOwner) { // GitHub does not say which of the two it does not know
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("ask for repository %s/%s: %w", login, name, err)
	}
	return q.Repository, x.at, nil
}
