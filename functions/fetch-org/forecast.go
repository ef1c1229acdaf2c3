package fetchorg

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/serve"
)

// changing is the share of repositories that a forecast assumes to be pushed to or
// edited between two sweeps.
const changing = 0.1

// Forecaster says what owners will cost, before they are listed. It asks GitHub,
// within the same budgets as the sweeps.
type Forecaster struct {
	rdb    redis.UniversalClient
	github *github
	cache  *repoCache
}

// Forecast is what one sweep of an owner will cost. The first reads all details
// and so costs about twice as much.
type Forecast struct {
	Login   string  `json:"login"` // as GitHub spells it
	Type    string  `json:"type"`  // Organization or User
	Repos   int64   `json:"repos"`
	Points  int64   `json:"points"`
	Seconds float64 `json:"seconds"` // of GitHub's work; a user has 60 a minute
}

// Capacity is what the configured tokens can ask.
type Capacity struct {
	Tokens  int     `json:"tokens"`
	Refused int     `json:"refused"` // of the tokens, by GitHub
	Users   int     `json:"users"`   // of the others; several tokens of one user count once
	Points  int64   `json:"points_per_hour"`
	Seconds float64 `json:"seconds_per_hour"`
}

// OpenForecaster reads where Redis and GitHub are, and the tokens, from the
// environment.
func OpenForecaster(ctx context.Context, environ map[string]string) (*Forecaster, error) {
	cfg, err := serve.Load[Asking](ctx, environ)
	if err != nil {
		return nil, err
	}
	if len(cfg.tokens()) == 0 {
		return nil, errNoToken
	}
	rdb, err := openRedis(string(cfg.Redis))
	if err != nil {
		return nil, err
	}
	return &Forecaster{rdb, newGitHub(cfg, rdb, http.DefaultTransport), &repoCache{rdb}}, nil
}

// Close ends the connection.
func (f *Forecaster) Close() error { return f.rdb.Close() }

// Capacity asks GitHub whose tokens these are and what their users may ask.
func (f *Forecaster) Capacity(ctx context.Context) (Capacity, error) {
	c := Capacity{Tokens: len(f.github.tokens.each)}
	users := map[string]bool{}
	for _, t := range f.github.tokens.each {
		q, err := f.viewer(ctx, t)
		if errors.Is(err, errRefused) { // GitHub refuses a good token now and then, but not twice
			select {
			case <-f.github.after(minQuestionInterval):
			case <-ctx.Done():
				return c, context.Cause(ctx)
			}
			q, err = f.viewer(ctx, t)
		}
		if errors.Is(err, errRefused) {
			c.Refused++
			continue
		}
		if err != nil {
			return c, fmt.Errorf("token %d of %d: %w", t.number, c.Tokens, err)
		}
		if users[q.Viewer.Login] {
			continue
		}
		users[q.Viewer.Login] = true
		if q.RateLimit != nil {
			c.Points += max(0, int64(q.RateLimit.Limit)-reservePoints)
		}
		c.Seconds += time.Hour.Seconds() * workRate
	}
	c.Users = len(users)
	return c, nil
}

// viewer asks whose token it is and what its user may ask.
func (f *Forecaster) viewer(ctx context.Context, t *token) (viewerQuery, error) {
	var q viewerQuery
	x := &exchange{transport: f.github.transport, token: t.value, now: f.github.now}
	_, err := f.github.exchange(ctx, x, fmt.Sprintf("viewer %d", t.number), &q, nil)
	return q, err
}

// Forecast asks GitHub for an owner and the number of its repositories. It fails
// if there is no such owner, or if a repository that it lists does not exist.
func (f *Forecaster) Forecast(ctx context.Context, o Owner) (Forecast, error) {
	var u usage
	is, err := f.github.owner(ctx, o.Login, &u)
	if err != nil {
		return Forecast{}, err
	}
	v := Forecast{Login: is.Login, Type: is.Type, Repos: int64(len(o.Repos))}
	for _, name := range o.Repos {
		n, _, err := f.github.repository(ctx, o.Login, name, &u)
		if err != nil {
			return v, err
		}
		if n == nil || n.IsPrivate {
			return v, fmt.Errorf("GitHub knows no public repository %s/%s", o.Login, name)
		}
	}
	shape := shapeNodes
	if len(o.Repos) == 0 {
		p, err := list[identified](ctx, f.github, shapeIDs, is, "", 1, &u)
		if err != nil {
			return v, err
		}
		if p.total == nil {
			return v, fmt.Errorf("GitHub does not say how many repositories %s has", is.Login)
		}
		v.Repos, shape = *p.total, shapeList
	}
	return v, f.cost(ctx, &v, shape)
}

// cost adds up what a sweep asks, at the page widths learnt so far.
func (f *Forecaster) cost(ctx context.Context, v *Forecast, main shape) error {
	v.Points, v.Seconds = shapeOwner.points(1), assumed.Seconds()
	for _, part := range []struct {
		shape shape
		share float64
	}{{main, 1}, {shapeNodes, changing}, {shapeHistory, changing}} {
		w, err := f.github.widths.of(ctx, part.shape)
		if err != nil {
			return err
		}
		repos := int(math.Ceil(float64(v.Repos) * part.share))
		pages := int64((repos + w.n() - 1) / w.n())
		v.Points += pages * part.shape.points(min(repos, w.n()))
		v.Seconds += w.expects(1).Seconds() * float64(repos)
	}
	return nil
}
