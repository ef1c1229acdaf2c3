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
	"slices"
	"time"

	"github.com/shurcooL/githubv4"

	"github.com/m7pulse/m7pulse/shared/quota"
)

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
	burst    = time.Second
	// historyBurst is the same for the query of histories, without which the
	// query before it would be wasted.
	historyBurst = 15 * time.Second
)

func limits() quota.Limits {
	return quota.Limits{Reserve: reservePoints, Queries: 1_800, Work: 58_500 * time.Millisecond, Rate: workRate, InFlight: 20, Timeout: pageTimeout}
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
func (g *Client) once(ctx context.Context, t *quota.Token, p quota.Permit, key string, q question) (*exchange, error) {
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
	q.usage.add((*q.limit).points(), killed)
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
