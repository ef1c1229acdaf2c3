package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/shurcooL/githubv4"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// pageTimeout is a little more than the 10 s after which GitHub kills a query.
const pageTimeout = 11 * time.Second

// What GitHub's answer may mean other than success. A *limited or *broken
// question may be asked again; the others settle the matter.
var (
	errUnknownOwner = errors.New("GitHub knows no such owner")
	errRefused      = errors.New("GitHub refuses the token (bad credentials)")
)

// limited: no token may be used before a time.
type limited struct{ until time.Time }

func (l *limited) Error() string {
	return "GitHub's limit is reached until " + l.until.UTC().Format(time.RFC3339)
}

// broken: there was no answer, or none of use.
type broken struct {
	killed bool // GitHub worked on it and gave up, for which it fines points
	cause  error
}

func (b *broken) Error() string { return "GitHub did not answer: " + b.cause.Error() }
func (b *broken) Unwrap() error { return b.cause }

// denied: GitHub will not answer this question, whoever repeats it.
type denied struct{ reason string }

func (d *denied) Error() string { return d.reason }

// github asks GitHub's GraphQL API.
type github struct {
	url       string
	transport http.RoundTripper
	tokens    *tokens
	now       func() time.Time
}

func newGitHub(url string, tokens *tokens) *github {
	return &github{url: url, transport: http.DefaultTransport, tokens: tokens, now: time.Now}
}

// owner is whose repositories are read.
type owner struct {
	Login   string // as GitHub spells it
	Type    string // Organization or User
	Company *string
}

// owner finds out what kind of owner a login is.
func (g *github) owner(ctx context.Context, login string) (o owner, points int64, err error) {
	var q ownerQuery
	if _, err := g.ask(ctx, &q, &q.RateLimit, ownerVariables(login)); err != nil {
		return o, 0, fmt.Errorf("ask for owner %s: %w", login, err)
	}
	if q.RepositoryOwner == nil {
		return o, 0, fmt.Errorf("ask for owner %s: %w", login, errUnknownOwner)
	}
	return owner{Login: q.RepositoryOwner.Login, Type: q.RepositoryOwner.Typename}, q.RateLimit.points(), nil
}

// page is one page of an owner's repositories.
type page struct {
	expected     int64 // repositories the owner has in all
	observations []repo.Observation
	unanswered   int64
	next         string // cursor; "" after the last page
	points       int64
}

// page reads the repositories of an owner that come after a cursor.
func (g *github) page(ctx context.Context, o owner, sweepID, cursor string, size int) (page, error) {
	var (
		variables = pageVariables(o.Login, cursor, size)
		of        *owned
		limit     *rateLimit
		at        time.Time
		err       error
	)
	if o.Type == "Organization" {
		var q organizationQuery
		at, err = g.ask(ctx, &q, &q.RateLimit, variables)
		of, limit = q.Owner, q.RateLimit
	} else {
		var q userQuery
		at, err = g.ask(ctx, &q, &q.RateLimit, variables)
		of, limit = q.Owner, q.RateLimit
	}
	if err == nil && (of == nil || of.Repositories == nil) {
		err = &broken{cause: errors.New("an answer without repositories")}
	}
	if err != nil {
		return page{}, fmt.Errorf("ask for repositories of %s after %q: %w", o.Login, cursor, err)
	}
	c := of.Repositories
	if c.PageInfo.HasNextPage && (c.PageInfo.EndCursor == "" || c.PageInfo.EndCursor == cursor) {
		return page{}, fmt.Errorf("ask for repositories of %s after %q: %w", o.Login, cursor, &broken{cause: errors.New("the cursor does not move")})
	}
	p := page{expected: c.TotalCount, points: limit.points()}
	if c.PageInfo.HasNextPage {
		p.next = c.PageInfo.EndCursor
	}
	for _, n := range c.Nodes {
		r, ok := observe(n, o, sweepID, at)
		if ok {
			if err := r.Validate(at); err != nil {
				slog.Warn("an impossible answer of GitHub is left out", "repo", r.NameWithOwner, "error", err)
				ok = false
			}
		}
		if !ok {
			p.unanswered++
			continue
		}
		p.observations = append(p.observations, r)
	}
	return p, nil
}

// ask puts one question, with each token in its turn while GitHub takes none.
// limit points to the question's own rateLimit. It returns when GitHub answered.
func (g *github) ask(ctx context.Context, question any, limit **rateLimit, variables map[string]any) (time.Time, error) {
	for {
		i, token, err := g.tokens.pick(g.now())
		if err != nil {
			return time.Time{}, err
		}
		x := &exchange{transport: g.transport, token: token, now: g.now}
		err = g.once(ctx, x, question, variables)
		var l *limited
		switch {
		case errors.As(err, &l):
			g.tokens.rest(i, l.until, false)
			continue
		case errors.Is(err, errRefused):
			slog.Error("GitHub refuses a token", "token", i+1, "of", len(g.tokens.each))
			g.tokens.rest(i, g.now().Add(refusedFor), true)
			continue
		}
		if r := *limit; r != nil && r.Remaining < max(r.Cost, 1) {
			g.tokens.rest(i, r.ResetAt.Add(time.Second), false)
		}
		return x.at, err
	}
}

func (g *github) once(ctx context.Context, x *exchange, question any, variables map[string]any) error {
	asking, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	client := githubv4.NewEnterpriseClient(g.url, &http.Client{
		Transport: x,
		// A redirection must not carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	err := client.Query(asking, question, variables)
	if err == nil {
		return nil
	}
	if v := x.verdict(err); v != nil {
		return v
	}
	// githubv4 returns the first of GitHub's errors as it stands. Then the data
	// is whole but for its nulls; any other error is one of reading it.
	if len(x.body.Errors) == 0 || x.body.Errors[0].Message != err.Error() {
		return &broken{cause: fmt.Errorf("read the answer: %w", err)}
	}
	return nil
}

func (r *rateLimit) points() int64 {
	if r == nil {
		return 0
	}
	return r.Cost
}
