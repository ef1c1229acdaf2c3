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

// minQuestionInterval is the least time between two equal questions.
const minQuestionInterval = time.Second

// What GitHub's answer may mean other than success. Only errUnknownOwner is final;
// after any other error the question may be asked again later, or with the token
// of another user.
var (
	errUnknownOwner = errors.New("GitHub knows no such owner")
	errRefused      = errors.New("GitHub refuses the token (bad credentials)")
	errNoToken      = errors.New("GITHUB_TOKEN is not set: GitHub cannot be asked")
)

// rateLimitedError: no token may be used before a time, which is zero if GitHub
// named none.
type rateLimitedError struct{ until time.Time }

func (l *rateLimitedError) Error() string {
	return "GitHub's limit is reached until " + l.until.UTC().Format(time.RFC3339)
}

// noAnswerError: there was no answer, or no usable one.
type noAnswerError struct {
	killed     bool // GitHub worked on it and gave up, for which it charges points
	unreadable bool // GitHub answered, but the answer cannot be decoded
	cause      error
}

func (b *noAnswerError) Error() string { return "GitHub did not answer: " + b.cause.Error() }
func (b *noAnswerError) Unwrap() error { return b.cause }

// deniedError: GitHub does not answer this question to this user.
type deniedError struct{ reason string }

func (d *deniedError) Error() string { return d.reason }

// refusedError: GitHub refused every token. until is when the first of them is
// tried again; zero if the tokens are good and the owner denies all their users.
type refusedError struct {
	until time.Time
	cause error
}

func (r *refusedError) Error() string { return r.cause.Error() }
func (r *refusedError) Unwrap() error { return r.cause }

// github asks GitHub's GraphQL API, within the budgets of the tokens' users and
// in pages as wide as each shape of query allows.
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

// usage is what a handler's questions about one owner cost, and which users the
// owner denies.
type usage struct {
	points int64
	killed int64
	denied []string // users
	why    error    // the last of them was denied
}

func (u *usage) add(points int64, killed bool) {
	u.points += points
	if killed {
		u.killed++
	}
}

// moveTo moves the cost to a ledger line.
func (u *usage) moveTo(line *event.OwnerSwept) {
	line.Points += u.points
	line.KilledPages += u.killed
	u.points, u.killed = 0, 0
}

// deny notes that the owner is not shown to a user.
func (u *usage) deny(user string, why error) {
	u.why = why
	if !slices.Contains(u.denied, user) {
		u.denied = append(u.denied, user)
	}
}

// question is one query for n repositories, and where its answer goes.
type question struct {
	shape     shape
	n         int
	variables map[string]any
	answer    any
	limit     **rateLimit // in the answer
	usage     *usage
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
// *rateLimitedError if none may be used before ctx ends, and with *refusedError if
// GitHub refuses them all.
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
			wait *rateLimitedError
			no   *deniedError
		)
		switch {
		case errors.As(err, &wait): // the next permit is another user's, or says how long to wait
		case errors.Is(err, errRefused):
			until := g.tokens.refuse(t, g.now())
			slog.Error("GitHub refuses a token", "token", t.number, "of", len(g.tokens.each), "until", until, "error", err)
		case errors.As(err, &no):
			slog.Warn("GitHub denies a user an owner", "token", t.number, "of", len(g.tokens.each), "error", err)
			q.usage.deny(p.user, no)
		default:
			if err == nil || errors.Is(err, errUnknownOwner) {
				g.tokens.accept(t)
			}
			return x, err
		}
	}
}

// space waits until minQuestionInterval has passed since the same question was
// answered.
func (g *github) space(ctx context.Context, key string) error {
	g.mu.Lock()
	at, again := g.asked[key]
	g.mu.Unlock()
	if !again {
		return nil
	}
	select {
	case <-g.after(minQuestionInterval - g.since(at)):
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
	maps.DeleteFunc(g.asked, func(_ string, at time.Time) bool { return now.Sub(at) >= minQuestionInterval })
	g.asked[key] = now
}

// permit finds a token whose user may ask the question: the first user's as long
// as there is room in its budgets, then the next one's. It waits for room as long
// as ctx leaves time for the answer.
func (g *github) permit(ctx context.Context, q question) (*token, permit, error) {
	known, err := g.widths.of(ctx, q.shape)
	if err != nil {
		return nil, permit{}, err
	}
	work, points := known.expects(q.n), q.shape.points(q.n)
	takes := work + work/2
	if q.shape.half { // without time for the other half, this one would be wasted
		rest, err := g.widths.of(ctx, shapeHistory)
		if err != nil {
			return nil, permit{}, err
		}
		takes += rest.expects(q.n) * 3 / 2
	}
	run := burst
	if q.shape.other {
		run = historyBurst
	}
	for {
		var soonest time.Time // that there may be room
		no := &refusedError{cause: errRefused}
		for _, t := range g.tokens.each {
			user, err := g.userOf(ctx, t, q.usage)
			var (
				wait   *rateLimitedError
				refuse *refusedError
			)
			switch {
			case errors.As(err, &refuse):
				no = &refusedError{earliest(no.until, refuse.until), refuse.cause}
				continue
			case errors.As(err, &wait):
				soonest = earliest(soonest, wait.until)
				continue
			case err != nil:
				return nil, permit{}, err
			case slices.Contains(q.usage.denied, user):
				continue
			}
			p, until, err := g.budgets.reserve(ctx, user, points, work, run)
			if err != nil {
				return nil, permit{}, err
			}
			if until.IsZero() {
				return t, p, nil
			}
			soonest = earliest(soonest, until)
		}
		if soonest.IsZero() {
			if q.usage.why != nil {
				no.cause = q.usage.why
			}
			return nil, permit{}, no
		}
		pause := -g.since(soonest)
		if pause+takes > g.left(ctx) {
			return nil, permit{}, &rateLimitedError{soonest}
		}
		select {
		case <-ctx.Done():
			return nil, permit{}, context.Cause(ctx)
		case <-g.after(max(pause, 0) + rand.N(50*time.Millisecond)):
		}
	}
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
// *rateLimitedError or *refusedError while the token is not to be used.
func (g *github) userOf(ctx context.Context, t *token, u *usage) (string, error) {
	select { // one asks, the others wait until their contexts end
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
		wait *rateLimitedError
		bad  *noAnswerError
		no   *deniedError
	)
	u.add(is.RateLimit.points(), errors.As(err, &bad) && bad.killed)
	switch {
	case err == nil:
		t.user, t.failed = userOf(g.host, is.Viewer.Login), 0
		g.tokens.accept(t)
		_, err = g.budgets.charge(ctx, permit{user: t.user, id: "viewer"}, x.cost(took, is.RateLimit, nil))
		return t.user, err
	case errors.Is(err, errRefused), errors.As(err, &no):
		until := g.tokens.refuse(t, g.now())
		slog.Error("GitHub refuses a token", "token", t.number, "of", len(g.tokens.each), "until", until, "error", err)
		return "", &refusedError{until, err}
	case errors.As(err, &wait):
		if wait.until.IsZero() {
			wait.until = g.now().Add(min(firstPenalty<<min(t.failed, 10), maxPenalty))
		}
		g.tokens.rest(t, wait.until)
		slog.Warn("GitHub rate limit", "token", t.number, "status", x.status, "until", wait.until)
	case ctx.Err() == nil:
		g.tokens.rest(t, g.now().Add(backoff(t.failed)))
	}
	t.failed++
	return "", fmt.Errorf("ask whose token it is: %w", err)
}

// once puts a question with one token and charges what it cost.
func (g *github) once(ctx context.Context, t *token, p permit, key string, q question) (*exchange, error) {
	x := &exchange{transport: g.transport, token: t.value, now: g.now}
	took, err := g.exchange(ctx, x, key, q.answer, q.variables)
	if ctx.Err() != nil && x.status == 0 { // we gave up; nothing is learnt from that
		err = context.Cause(ctx)
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	until, e := g.budgets.charge(settling, p, x.cost(took, *q.limit, err))
	if e != nil {
		return nil, errors.Join(e, err)
	}
	if wait := (*rateLimitedError)(nil); errors.As(err, &wait) {
		slog.Warn("GitHub rate limit", "token", t.number, "status", x.status, "until", until)
	}
	var bad *noAnswerError
	killed := errors.As(err, &bad) && bad.killed
	if err == nil || killed {
		if e := g.widths.learn(settling, q.shape, q.n, took, killed || x.hasError(resourceLimits)); e != nil {
			return nil, errors.Join(e, err)
		}
	}
	q.usage.add((*q.limit).points(), killed)
	return x, err
}

// exchange sends a question and returns how long GitHub took.
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
	if v := x.classify(err); v != nil {
		return took, v
	}
	// githubv4 returns the first of GitHub's errors unchanged. Then the data is
	// whole except for its nulls; any other error is one of decoding it.
	if len(x.body.Errors) == 0 || x.body.Errors[0].Message != err.Error() {
		return took, &noAnswerError{unreadable: true, cause: fmt.Errorf("decode the answer: %w", err)}
	}
	return took, nil
}

// cost is what the answer says about its cost. GitHub prefers that clients read it
// from the headers.
func (x *exchange) cost(work time.Duration, limit *rateLimit, err error) cost {
	c := cost{work: work, clean: err == nil}
	if n := x.remaining(); n != unknownPoints {
		c.known, c.remaining, c.reset = true, n, x.reset()
	} else if limit != nil {
		c.remaining, c.reset = int64(limit.Remaining), x.localTime(limit.ResetAt.Time)
		c.known = c.remaining >= 0 && !c.reset.IsZero()
	}
	var l *rateLimitedError
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
