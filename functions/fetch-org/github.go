package fetchorg

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

	"github.com/m7pulse/m7pulse/shared/event"
)

// pageTimeout is a little more than the 10 s after which GitHub kills a query.
const pageTimeout = 11 * time.Second

// apart is the least time between two questions that are the same.
const apart = time.Second

// What GitHub's answer may mean other than success. Only errUnknownOwner settles
// the matter; any other question may be asked again later, or with the token of
// another user.
var (
	errUnknownOwner = errors.New("GitHub knows no such owner")
	errRefused      = errors.New("GitHub refuses the token (bad credentials)")
	errNoToken      = errors.New("GITHUB_TOKEN is not set: GitHub cannot be asked")
)

// limited: no token may be used before a time; none if GitHub named none.
type limited struct{ until time.Time }

func (l *limited) Error() string {
	return "GitHub's limit is reached until " + l.until.UTC().Format(time.RFC3339)
}

// broken: there was no answer, or none of use.
type broken struct {
	killed     bool // GitHub worked on it and gave up, for which it fines points
	unreadable bool // GitHub answered what was asked, in a form that it should not have
	cause      error
}

func (b *broken) Error() string { return "GitHub did not answer: " + b.cause.Error() }
func (b *broken) Unwrap() error { return b.cause }

// denied: GitHub does not answer this question to the user who asks.
type denied struct{ reason string }

func (d *denied) Error() string { return d.reason }

// refused: GitHub answers with no token. until is when the first of them is
// tried again; zero if each is good, and the owner admits none of the users.
type refused struct {
	until time.Time
	cause error
}

func (r *refused) Error() string { return r.cause.Error() }
func (r *refused) Unwrap() error { return r.cause }

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

	mu    sync.Mutex
	asked map[string]time.Time // when each question of the last second was answered
}

func newGitHub(cfg Asking, rdb redis.UniversalClient, transport http.RoundTripper) *github {
	at, _ := url.Parse(cfg.GraphQL) // checked with the configuration
	return &github{
		url: cfg.GraphQL, host: at.Host, transport: transport, tokens: newTokens(cfg.tokens()),
		budgets: &budgets{rdb, cfg.clock()}, widths: &widths{rdb, cfg.PageSize}, clock: cfg.clock(),
		asked: map[string]time.Time{},
	}
}

// visit is what a handler asks GitHub about one owner: what that costs, and whom
// the owner does not admit.
type visit struct {
	points int64
	killed int64
	barred []string // users
	why    error    // the last of them is barred
}

func (v *visit) add(points int64, killed bool) {
	v.points += points
	if killed {
		v.killed++
	}
}

// charge moves the cost to a ledger line.
func (v *visit) charge(line *event.OwnerSwept) {
	line.Points += v.points
	line.KilledPages += v.killed
	v.points, v.killed = 0, 0
}

// bar notes that the owner is not shown to a user.
func (v *visit) bar(user string, why error) {
	v.why = why
	if !slices.Contains(v.barred, user) {
		v.barred = append(v.barred, user)
	}
}

// question is one query for n repositories, and where its answer goes.
type question struct {
	shape     shape
	n         int
	variables map[string]any
	answer    any
	limit     **rateLimit // in the answer
	visit     *visit
}

// key is the same for questions that are the same.
func (q question) key() (string, error) {
	text, err := json.Marshal(q.variables)
	if err != nil {
		return "", fmt.Errorf("encode the variables of a %s query: %w", q.shape.name, err)
	}
	return q.shape.name + " " + string(text), nil
}

// ask puts a question as soon as a token may be used for it. It fails with
// *limited if none may be before ctx ends, and with *refused if GitHub answers
// with none.
func (g *github) ask(ctx context.Context, q question) (*exchange, error) {
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
			wait *limited
			no   *denied
		)
		switch {
		case errors.As(err, &wait): // the next permit is of another user, or says how long to wait
		case errors.Is(err, errRefused):
			until := g.tokens.refuse(t, g.now())
			slog.Error("GitHub refuses a token", "token", t.number, "of", len(g.tokens.each), "until", until, "error", err)
		case errors.As(err, &no):
			slog.Warn("GitHub denies an answer", "token", t.number, "of", len(g.tokens.each), "error", err)
			q.visit.bar(p.user, no)
		default:
			if err == nil || errors.Is(err, errUnknownOwner) {
				g.tokens.accept(t)
			}
			return x, err
		}
	}
}

// space waits until a question was answered a second ago or more.
func (g *github) space(ctx context.Context, key string) error {
	g.mu.Lock()
	at, again := g.asked[key]
	g.mu.Unlock()
	if !again {
		return nil
	}
	select {
	case <-g.after(apart - g.since(at)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answered notes when a question was answered last.
func (g *github) answered(key string) {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.asked, func(_ string, at time.Time) bool { return now.Sub(at) >= apart })
	g.asked[key] = now
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
		var soonest time.Time // that there may be room
		no := &refused{cause: errRefused}
		for _, t := range g.tokens.each {
			user, err := g.userOf(ctx, t, q.visit)
			var (
				wait   *limited
				refuse *refused
			)
			switch {
			case errors.As(err, &refuse):
				no = &refused{earliest(no.until, refuse.until), refuse.cause}
				continue
			case errors.As(err, &wait):
				soonest = earliest(soonest, wait.until)
				continue
			case err != nil:
				return nil, permit{}, err
			case slices.Contains(q.visit.barred, user):
				continue
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
			if q.visit.why != nil {
				no.cause = q.visit.why
			}
			return nil, permit{}, no
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

// earliest is the earlier of two times of which one may be zero, for none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) && !b.IsZero() {
		return b
	}
	return a
}

// userOf asks GitHub whose token it is, once in a process: budgets are the
// user's. The name is not the token's, so it may be kept. It fails with *limited
// or *refused while the token is not to be used.
func (g *github) userOf(ctx context.Context, t *token, v *visit) (string, error) {
	select { // one asks, the others wait, no longer than they may
	case t.naming <- struct{}{}:
		defer func() { <-t.naming }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if err := g.tokens.check(t, g.now()); err != nil || t.user != "" {
		return t.user, err
	}
	var is viewerQuery
	x := &exchange{transport: g.transport, token: t.value, now: g.now}
	took, err := g.exchange(ctx, x, fmt.Sprintf("viewer %d", t.number), &is, nil)
	var (
		wait *limited
		bad  *broken
		no   *denied
	)
	v.add(is.RateLimit.points(), errors.As(err, &bad) && bad.killed)
	switch {
	case err == nil:
		t.user, t.failed = userOf(g.host, is.Viewer.Login), 0
		g.tokens.accept(t)
		_, err = g.budgets.settle(ctx, permit{user: t.user, id: "viewer"}, x.bill(took, is.RateLimit, nil))
		return t.user, err
	case errors.Is(err, errRefused), errors.As(err, &no):
		until := g.tokens.refuse(t, g.now())
		slog.Error("GitHub refuses a token", "token", t.number, "of", len(g.tokens.each), "until", until, "error", err)
		return "", &refused{until, err}
	case errors.As(err, &wait):
		if wait.until.IsZero() {
			wait.until = g.now().Add(min(firstPenalty<<min(t.failed, 10), maxPenalty))
		}
		g.tokens.rest(t, wait.until)
		slog.Warn("GitHub wants a pause", "token", t.number, "status", x.status, "until", wait.until)
	case ctx.Err() == nil:
		g.tokens.rest(t, g.now().Add(backoff(t.failed)))
	}
	t.failed++
	return "", fmt.Errorf("ask whose token it is: %w", err)
}

// once puts a question with one token and settles what it cost.
func (g *github) once(ctx context.Context, t *token, p permit, key string, q question) (*exchange, error) {
	x := &exchange{transport: g.transport, token: t.value, now: g.now}
	took, err := g.exchange(ctx, x, key, q.answer, q.variables)
	if ctx.Err() != nil && x.status == 0 { // it is we who gave up; nothing is learnt from that
		err = context.Cause(ctx)
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	until, e := g.budgets.settle(settling, p, x.bill(took, *q.limit, err))
	if e != nil {
		return nil, errors.Join(e, err)
	}
	if wait := (*limited)(nil); errors.As(err, &wait) {
		slog.Warn("GitHub wants a pause", "token", t.number, "status", x.status, "until", until)
	}
	var bad *broken
	killed := errors.As(err, &bad) && bad.killed
	if err == nil || killed {
		if e := g.widths.learn(settling, q.shape, q.n, took, killed || x.hasError(resourceLimits)); e != nil {
			return nil, errors.Join(e, err)
		}
	}
	q.visit.add((*q.limit).points(), killed)
	return x, err
}

// exchange sends a question and says how it fared and how long GitHub took.
func (g *github) exchange(ctx context.Context, x *exchange, key string, answer any, variables map[string]any) (time.Duration, error) {
	asking, cancel := g.within(ctx, pageTimeout)
	defer cancel()
	client := githubv4.NewEnterpriseClient(g.url, &http.Client{
		Transport: x,
		// A redirection must not carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	asked := g.now()
	err := client.Query(asking, answer, variables)
	g.answered(key)
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
		return took, &broken{unreadable: true, cause: fmt.Errorf("read the answer: %w", err)}
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
		c.remaining, c.reset = int64(limit.Remaining), x.by(limit.ResetAt.Time)
		c.known = c.remaining >= 0 && !c.reset.IsZero()
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
	return max(0, int64(r.Cost))
}
