package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/shurcooL/githubv4"

	"github.com/m7pulse/m7pulse/shared/event"
)

// pageTimeout is a little more than the 10 s after which GitHub kills a query.
const pageTimeout = 11 * time.Second

// What GitHub's answer may mean other than success. A *limited or *broken
// question may be asked again; the others settle the matter.
var (
	errUnknownOwner = errors.New("GitHub knows no such owner")
	errRefused      = errors.New("GitHub refuses the token (bad credentials)")
)

// limited: no token may be used before a time; none if GitHub named none.
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

// github asks GitHub's GraphQL API, within the budgets of the tokens' users and
// in pages as wide as each shape of query bears.
type github struct {
	url       string
	host      string
	transport http.RoundTripper
	tokens    *tokens
	budgets   *budgets
	widths    *widths
	clock
}

func newGitHub(cfg Asking, rdb redis.UniversalClient, transport http.RoundTripper) *github {
	at, _ := url.Parse(cfg.GraphQL) // checked with the configuration
	return &github{
		url: cfg.GraphQL, host: at.Host, transport: transport, tokens: newTokens(cfg.tokens()),
		budgets: &budgets{rdb, cfg.clock()}, widths: &widths{rdb, cfg.PageSize}, clock: cfg.clock(),
	}
}

// cost adds up what questions cost.
type cost struct {
	mu     sync.Mutex
	points int64
	killed int64
}

func (c *cost) add(points int64, killed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.points += points
	if killed {
		c.killed++
	}
}

// charge moves it to a ledger line.
func (c *cost) charge(line *event.OwnerSwept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line.Points += c.points
	line.KilledPages += c.killed
	c.points, c.killed = 0, 0
}

// question is one query for n repositories, and where its answer goes.
type question struct {
	shape     shape
	n         int
	variables map[string]any
	answer    any
	limit     **rateLimit // in the answer
	cost      *cost
}

// ask puts a question as soon as a token may be used for it. It fails with
// *limited if none may be before ctx ends.
func (g *github) ask(ctx context.Context, q question) (*exchange, error) {
	for {
		t, p, err := g.permit(ctx, q)
		if err != nil {
			return nil, err
		}
		x, err := g.once(ctx, t, p, q)
		var l *limited
		switch {
		case errors.As(err, &l):
			continue // with another's token, or it is told how long to wait
		case errors.Is(err, errRefused):
			slog.Error("GitHub refuses a token", "token", t.number, "of", len(g.tokens.each))
			g.tokens.refuse(t, g.now())
			continue
		}
		return x, err
	}
}

// permit finds a token whose user may ask the question: of the first user as
// long as there is room in its budgets, then of the next. It waits for room as
// long as ctx leaves time for the answer.
func (g *github) permit(ctx context.Context, q question) (*token, permit, error) {
	known, err := g.widths.of(ctx, q.shape)
	if err != nil {
		return nil, permit{}, err
	}
	work, points := known.expects(q.n), q.shape.points(q.n)
	takes := work + work/2
	if q.shape.half { // without time for the rest, this half would be in vain
		rest, err := g.widths.of(ctx, shapeHistory)
		if err != nil {
			return nil, permit{}, err
		}
		takes += rest.expects(q.n) * 3 / 2
	}
	run := burst
	if q.shape.other {
		run = longRun
	}
	for {
		usable, err := g.tokens.usable(g.now())
		if err != nil {
			return nil, permit{}, err
		}
		var soonest time.Time
		for _, t := range usable {
			user, err := g.userOf(ctx, t, q.cost)
			if errors.Is(err, errRefused) {
				continue
			}
			var l *limited
			if errors.As(err, &l) {
				soonest = earliest(soonest, l.until)
				continue
			}
			if err != nil {
				return nil, permit{}, err
			}
			p, until, err := g.budgets.take(ctx, user, points, work, run)
			if err != nil {
				return nil, permit{}, err
			}
			if until.IsZero() {
				return t, p, nil
			}
			soonest = earliest(soonest, until)
		}
		if soonest.IsZero() {
			return nil, permit{}, errRefused
		}
		pause := -g.since(soonest)
		if pause+takes > g.left(ctx) {
			return nil, permit{}, &limited{soonest}
		}
		select {
		case <-ctx.Done():
			return nil, permit{}, context.Cause(ctx)
		case <-g.after(max(pause, 0) + rand.N(50*time.Millisecond)):
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// userOf asks GitHub whose token it is, once in a process: budgets are the
// user's. The name is not the token's, so it may be kept.
func (g *github) userOf(ctx context.Context, t *token, c *cost) (string, error) {
	select { // one asks, the others wait, no longer than they may
	case t.naming <- struct{}{}:
		defer func() { <-t.naming }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if t.user != "" {
		return t.user, nil
	}
	if g.now().Before(t.rests) {
		return "", &limited{t.rests}
	}
	var v viewerQuery
	x := &exchange{transport: g.transport, token: t.value, now: g.now}
	took, err := g.exchange(ctx, x, &v, nil)
	var (
		l   *limited
		bad *broken
		no  *denied
	)
	switch {
	case errors.Is(err, errRefused), errors.As(err, &no):
		slog.Error("GitHub refuses a token", "token", t.number, "of", len(g.tokens.each), "error", err)
		g.tokens.refuse(t, g.now())
		return "", errRefused
	case errors.As(err, &l) && l.until.IsZero():
		l.until = g.now().Add(firstPenalty)
	}
	if l != nil {
		t.rests = l.until
	}
	c.add(v.RateLimit.points(), errors.As(err, &bad) && bad.killed)
	if err != nil {
		return "", fmt.Errorf("ask whose token it is: %w", err)
	}
	t.user = userOf(g.host, v.Viewer.Login)
	_, err = g.budgets.settle(ctx, permit{user: t.user, id: "viewer"}, x.bill(took, v.RateLimit, nil))
	return t.user, err
}

// once puts a question with one token and settles what it cost.
func (g *github) once(ctx context.Context, t *token, p permit, q question) (*exchange, error) {
	x := &exchange{transport: g.transport, token: t.value, now: g.now}
	took, err := g.exchange(ctx, x, q.answer, q.variables)
	if ctx.Err() != nil && x.status == 0 { // it is we who gave up; nothing is learnt from that
		err = context.Cause(ctx)
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if _, e := g.budgets.settle(settling, p, x.bill(took, *q.limit, err)); e != nil {
		return nil, errors.Join(e, err)
	}
	var bad *broken
	killed := errors.As(err, &bad) && bad.killed
	if err == nil || killed {
		if e := g.widths.learn(settling, q.shape, q.n, took, killed || x.hasError(resourceLimits)); e != nil {
			return nil, errors.Join(e, err)
		}
	}
	q.cost.add((*q.limit).points(), killed)
	return x, err
}

// exchange sends a question and says how it fared and how long GitHub took.
func (g *github) exchange(ctx context.Context, x *exchange, answer any, variables map[string]any) (time.Duration, error) {
	asking, cancel := g.within(ctx, pageTimeout)
	defer cancel()
	client := githubv4.NewEnterpriseClient(g.url, &http.Client{
		Transport: x,
		// A redirection must not carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	asked := g.now()
	err := client.Query(asking, answer, variables)
	took := g.since(asked)
	if err == nil && x.hasData() {
		return took, nil
	}
	if v := x.verdict(err); v != nil {
		return took, v
	}
	// githubv4 returns the first of GitHub's errors as it stands. Then the data
	// is whole but for its nulls; any other error is one of reading it.
	if len(x.body.Errors) == 0 || x.body.Errors[0].Message != err.Error() {
		return took, &broken{cause: fmt.Errorf("read the answer: %w", err)}
	}
	return took, nil
}

// bill says what an answer tells of its cost. GitHub prefers that one reads it
// from the headers.
func (x *exchange) bill(work time.Duration, limit *rateLimit, err error) bill {
	c := bill{work: work, clean: err == nil}
	if n := x.remaining(); n != never {
		c.known, c.remaining, c.reset = true, n, x.reset()
	} else if limit != nil {
		c.known, c.remaining, c.reset = true, limit.Remaining, limit.ResetAt.Add(time.Second)
	}
	var l *limited
	if errors.As(err, &l) {
		c.rest, c.penalty = l.until, l.until.IsZero()
	}
	return c
}

func (r *rateLimit) points() int64 {
	if r == nil {
		return 0
	}
	return r.Cost
}
