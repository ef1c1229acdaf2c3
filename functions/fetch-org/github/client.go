// Package github asks GitHub's GraphQL API for the repositories of owners: within
// the budgets of the tokens' users, which all replicas share in Redis, and in pages
// as wide as each shape of query allows. It knows nothing of sweeps.
package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/shurcooL/githubv4"

	"github.com/m7pulse/m7pulse/shared/quota"
	"github.com/m7pulse/m7pulse/shared/trace"
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
	measured  *queryMetrics

	mu    sync.Mutex
	asked map[string]time.Time // when each question of the last second was answered
}

// New returns a client that keeps budgets and widths in rdb. It connects to nothing.
func New(cfg Config, rdb redis.UniversalClient, transport http.RoundTripper) *Client {
	at, _ := url.Parse(cfg.URL) // checked with the configuration
	return &Client{
		url: cfg.URL, host: at.Host, transport: transport, tokens: quota.NewTokens(string(cfg.Tokens)),
		budgets: quota.New(rdb, "", limits()), widths: &widths{rdb, cfg.PageSize}, measured: newQueryMetrics(), asked: map[string]time.Time{},
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

// pageTimeout is a little more than the 10 s after which GitHub kills a query.
const pageTimeout = 11 * time.Second

// What GitHub allows a user, less a reserve for whatever else the user does: points an
// hour as GitHub says, 2,000 queries a minute, 60 seconds of its work a minute, 100
// queries in flight.
const (
	reservePoints = 50
	// workRate is how many seconds of work may begin in a second. No more than
	// burst is begun ahead of it, so that the minute's work does not come at once
	// and leave every handler waiting for the rest of the minute.
	workRate = 0.975
	// WorkOfAMinute is what a user may have GitHub work in a minute.
	WorkOfAMinute = 58_500 * time.Millisecond
	burst         = time.Second
	// historyBurst is the same for the query of histories, without which the
	// query before it would be wasted.
	historyBurst = 15 * time.Second
)

func limits() quota.Limits {
	return quota.Limits{Reserve: reservePoints, Queries: 1_800, Work: WorkOfAMinute, Rate: workRate, InFlight: 20, Timeout: pageTimeout}
}

// MinInterval is the least time between two equal questions.
const MinInterval = time.Second

// question is one query for n repositories, and where its answer goes.
type question struct {
	shape     Shape
	n         int
	variables map[string]any
	answer    any
	limit     **rateLimit // in the answer
	usage     *Usage
}

// key is equal for equal questions.
func (q question) key() (string, error) {
	text, err := json.Marshal(q.variables)
	if err != nil {
		return "", fmt.Errorf("encode the variables of a %s query: %w", q.shape.name, err)
	}
	return q.shape.name + " " + string(text), nil
}

// ask puts a question as soon as a token may be used for it. It fails with
// *RateLimitedError if none may be used before ctx ends, and with *RefusedError if
// GitHub refuses them all.
func (g *Client) ask(ctx context.Context, q question) (*exchange, error) {
	key, err := q.key()
	if err != nil {
		return nil, err
	}
	for {
		if err := g.space(ctx, key); err != nil {
			return nil, err
		}
		t, p, err := g.permit(ctx, q)
		if err != nil {
			return nil, err
		}
		x, err := g.once(ctx, t, p, key, q)
		var (
			wait *RateLimitedError
			no   *deniedError
		)
		switch {
		case errors.As(err, &wait): // the next permit is another user's, or says how long to wait
		case errors.Is(err, quota.ErrRefused):
			until := g.tokens.Refuse(t, time.Now())
			slog.Error("GitHub refuses a token", "token", t.Number, "of", len(g.tokens.Each), "until", until, "error", err)
		case errors.As(err, &no):
			slog.Warn("GitHub denies a user an owner", "token", t.Number, "of", len(g.tokens.Each), "error", err)
			q.usage.deny(p.User, no)
		default:
			if err == nil || errors.Is(err, ErrUnknownOwner) {
				g.tokens.Accept(t)
			}
			return x, err
		}
	}
}

// space waits until MinInterval has passed since the same question was
// answered.
func (g *Client) space(ctx context.Context, key string) error {
	g.mu.Lock()
	at, again := g.asked[key]
	g.mu.Unlock()
	if !again {
		return nil
	}
	select {
	case <-time.After(MinInterval - time.Since(at)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answered notes when a question was answered last.
func (g *Client) answered(key string) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.asked, func(_ string, at time.Time) bool { return now.Sub(at) >= MinInterval })
	g.asked[key] = now
}

// permit finds a token whose user may ask the question: the first user's as long
// as there is room in its budgets, then the next one's. It waits for room as long
// as ctx leaves time for the answer.
func (g *Client) permit(ctx context.Context, q question) (*quota.Token, quota.Permit, error) {
	known, err := g.widths.of(ctx, q.shape)
	if err != nil {
		return nil, quota.Permit{}, err
	}
	work, points := known.expects(q.n), q.shape.points(q.n)
	takes := work + work/2
	if q.shape.half { // without time for the other half, this one would be wasted
		rest, err := g.widths.of(ctx, ShapeHistory)
		if err != nil {
			return nil, quota.Permit{}, err
		}
		takes += rest.expects(q.n) * 3 / 2
	}
	run := burst
	if q.shape.other {
		run = historyBurst
	}
	for {
		var soonest time.Time // that there may be room
		no := &RefusedError{Cause: quota.ErrRefused}
		for _, t := range g.tokens.Each {
			user, err := g.userOf(ctx, t, q.usage)
			var (
				wait   *RateLimitedError
				refuse *RefusedError
			)
			switch {
			case errors.As(err, &refuse):
				no = &RefusedError{Until: earliest(no.Until, refuse.Until), Cause: refuse.Cause}
				continue
			case errors.As(err, &wait):
				soonest = earliest(soonest, wait.Until)
				continue
			case err != nil:
				return nil, quota.Permit{}, err
			case slices.Contains(q.usage.Denied, user):
				continue
			}
			p, until, err := g.budgets.Reserve(ctx, user, points, work, run)
			if err != nil {
				return nil, quota.Permit{}, err
			}
			if until.IsZero() {
				return t, p, nil
			}
			soonest = earliest(soonest, until)
		}
		if soonest.IsZero() {
			if q.usage.why != nil {
				no.Cause = q.usage.why
			}
			return nil, quota.Permit{}, no
		}
		pause := time.Until(soonest)
		if pause+takes > left(ctx) {
			return nil, quota.Permit{}, &RateLimitedError{Until: soonest}
		}
		select {
		case <-ctx.Done():
			return nil, quota.Permit{}, context.Cause(ctx)
		case <-time.After(max(pause, 0) + rand.N(50*time.Millisecond)):
		}
	}
}

// left is how long a context has until its deadline; an hour if it has none.
func left(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Hour
	}
	return time.Until(deadline)
}

// earliest returns the earlier of two times; zero stands for none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) && !b.IsZero() {
		return b
	}
	return a
}

// userOf asks GitHub whose token it is, once in a process: budgets are the
// user's. The name is no secret, so it may be kept. It fails with
// *RateLimitedError or *RefusedError while the token is not to be used.
func (g *Client) userOf(ctx context.Context, t *quota.Token, u *Usage) (string, error) {
	select { // one asks, the others wait until their contexts end
	case t.Naming <- struct{}{}:
		defer func() { <-t.Naming }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if err := g.tokens.Check(t, time.Now()); err != nil || t.User != "" {
		return t.User, err
	}
	var is viewerQuery
	x := &exchange{transport: g.transport, token: t.Value}
	took, err := g.exchange(ctx, x, fmt.Sprintf("viewer %d", t.Number), &is, nil)
	var (
		wait *RateLimitedError
		bad  *NoAnswerError
		no   *deniedError
	)
	u.add(is.RateLimit.points(), errors.As(err, &bad) && bad.Killed)
	switch {
	case err == nil:
		t.User, t.Failed = quota.UserOf(g.host, is.Viewer.Login), 0
		g.tokens.Accept(t)
		_, err = g.budgets.Charge(ctx, quota.Permit{User: t.User, ID: "viewer"}, x.cost(took, is.RateLimit, nil))
		return t.User, err
	case errors.Is(err, quota.ErrRefused), errors.As(err, &no):
		until := g.tokens.Refuse(t, time.Now())
		slog.Error("GitHub refuses a token", "token", t.Number, "of", len(g.tokens.Each), "until", until, "error", err)
		return "", &RefusedError{Until: until, Cause: err}
	case errors.As(err, &wait):
		if wait.Until.IsZero() {
			wait.Until = time.Now().Add(quota.Penalty(t.Failed))
		}
		g.tokens.Rest(t, wait.Until)
		slog.Warn("GitHub rate limit", "token", t.Number, "status", x.status, "until", wait.Until)
	case ctx.Err() == nil:
		g.tokens.Rest(t, time.Now().Add(Backoff(t.Failed)))
	}
	t.Failed++
	return "", fmt.Errorf("ask whose token it is: %w", err)
}

// once puts a question with one token and charges what it cost.
func (g *Client) once(ctx context.Context, t *quota.Token, p quota.Permit, key string, q question) (_ *exchange, err error) {
	ctx, span := trace.Start(ctx, trace.Client, "GitHub "+q.shape.name, "m7pulse.width", q.n)
	defer func() { span.End(err) }()
	x := &exchange{transport: g.transport, token: t.Value}
	took, err := g.exchange(ctx, x, key, q.answer, q.variables)
	if ctx.Err() != nil && x.status == 0 { // we gave up; nothing is learnt from that
		err = context.Cause(ctx)
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	until, e := g.budgets.Charge(settling, p, x.cost(took, *q.limit, err))
	if e != nil {
		return nil, errors.Join(e, err)
	}
	if wait := (*RateLimitedError)(nil); errors.As(err, &wait) {
		slog.Warn("GitHub rate limit", "token", t.Number, "status", x.status, "until", until)
	}
	var bad *NoAnswerError
	killed := errors.As(err, &bad) && bad.Killed
	if err == nil || killed {
		if e := g.widths.learn(settling, q.shape, q.n, took, killed || x.hasError(resourceLimits)); e != nil {
			return nil, errors.Join(e, err)
		}
	}
	span.Set("http.response.status_code", x.status, "m7pulse.points", (*q.limit).points(), "m7pulse.killed", killed)
	q.usage.add((*q.limit).points(), killed)
	g.measured.asked(q, took, (*q.limit).points())
	return x, err
}

// exchange sends a question and returns how long GitHub took.
func (g *Client) exchange(ctx context.Context, x *exchange, key string, answer any, variables map[string]any) (time.Duration, error) {
	asking, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	client := githubv4.NewEnterpriseClient(g.url, &http.Client{
		Transport: x,
		// A redirection must not carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	asked := time.Now()
	err := client.Query(asking, answer, variables)
	g.answered(key)
	took := time.Since(asked)
	if err == nil && x.hasData() {
		return took, nil
	}
	if v := x.classify(err); v != nil {
		return took, v
	}
	// githubv4 returns the first of GitHub's errors unchanged. Then the data is
	// whole except for its nulls; any other error is one of decoding it.
	if len(x.body.Errors) == 0 || x.body.Errors[0].Message != err.Error() {
		return took, &NoAnswerError{Unreadable: true, Cause: fmt.Errorf("decode the answer: %w", err)}
	}
	return took, nil
}
