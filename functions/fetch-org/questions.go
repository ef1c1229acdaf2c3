package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shurcooL/githubv4"
)

// owner is an owner as GitHub knows it.
type owner struct {
	Login   string // as GitHub spells it
	Type    string // Organization or User
	Company *string
}

// owner finds out what kind of owner a login is.
func (g *github) owner(ctx context.Context, login string, u *usage) (owner, error) {
	var q ownerQuery
	if _, err := g.ask(ctx, question{shapeOwner, 1, ownerVariables(login), &q, &q.RateLimit, u}); err != nil {
		return owner{}, fmt.Errorf("ask for owner %s: %w", login, err)
	}
	if q.RepositoryOwner == nil {
		return owner{}, fmt.Errorf("ask for owner %s: %w", login, errUnknownOwner)
	}
	return owner{Login: q.RepositoryOwner.Login, Type: q.RepositoryOwner.Typename}, nil
}

// page is one page of an owner's repositories, each as an N.
type page[N any] struct {
	at    time.Time // when GitHub answered
	total *int64    // repositories the owner has in all; nil if GitHub did not answer a number
	nodes []*N
	nulls int    // nodes that GitHub left out
	next  string // cursor; "" after the last page
	stuck bool   // there are more, but no other cursor than this page's to reach them
}

// list reads the repositories of an owner that come after a cursor.
func list[N any](ctx context.Context, g *github, s shape, o owner, cursor string, first int, u *usage) (page[N], error) {
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
		err = &noAnswerError{cause: errors.New("an answer without repositories")}
	}
	if err == nil {
		// GitHub's resource limit can leave the whole list null.
		if of.Repositories.PageInfo.EndCursor != "" && len(of.Repositories.Nodes) == 0 {
			err = &noAnswerError{killed: x.hasError(resourceLimits), cause: errors.New("a page without its repositories")}
		}
	}
	if err != nil {
		return page[N]{}, fmt.Errorf("ask for repositories of %s after %q: %w", o.Login, cursor, err)
	}
	p := page[N]{at: x.at}
	if total := of.Repositories.TotalCount; total >= 0 {
		p.total = total.value()
	}
	if info := of.Repositories.PageInfo; info.HasNextPage {
		p.next = info.EndCursor
		p.stuck = info.EndCursor == "" || info.EndCursor == cursor
	}
	for _, n := range of.Repositories.Nodes {
		if n == nil {
			p.nulls++
			continue
		}
		p.nodes = append(p.nodes, n)
	}
	return p, nil
}

// found is what GitHub answers for one id.
type found[N any] struct {
	at   time.Time
	node *N   // nil if it is gone, or GitHub did not answer
	gone bool // GitHub says that none has that id
}

// byID asks for some repositories by id, as many as one query of the shape
// allows. The answers are in the order of the ids.
func byID[N any](ctx context.Context, g *github, s shape, ids []string, u *usage) ([]found[N], error) {
	var q nodesQuery[N]
	x, err := g.ask(ctx, question{s, len(ids), idVariables(ids), &q, &q.RateLimit, u})
	if err == nil && len(q.Nodes) != len(ids) {
		err = &noAnswerError{cause: fmt.Errorf("%d answers to %d ids", len(q.Nodes), len(ids))}
	}
	if err != nil {
		return nil, fmt.Errorf("ask for %d repositories by id: %w", len(ids), err)
	}
	answers := make([]found[N], len(ids))
	for i, n := range q.Nodes {
		answers[i].at = x.at
		if n == nil {
			answers[i].gone = x.gone(i)
			continue
		}
		answers[i].node = &n.Repository
	}
	return answers, nil
}

// repository asks for one repository by name; nil if there is none.
func (g *github) repository(ctx context.Context, login, name string, u *usage) (*Whole, time.Time, error) {
	var q repositoryQuery
	x, err := g.ask(ctx, question{shapeNamed, 1, map[string]any{"owner": githubv4.String(login), "name": githubv4.String(name)}, &q, &q.RateLimit, u})
	if errors.Is(err, errUnknownOwner) { // GitHub does not say which of the two it does not know
		return nil, time.Time{}, nil
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("ask for repository %s/%s: %w", login, name, err)
	}
	return q.Repository, x.at, nil
}
