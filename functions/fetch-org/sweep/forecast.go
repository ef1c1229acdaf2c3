package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// changing is the share of repositories that a forecast assumes to be pushed to or
// edited between two sweeps.
const changing = 0.1

// Forecaster says what owners will cost, before they are listed. It asks GitHub,
// within the same budgets as the sweeps.
type Forecaster struct {
	rdb    redis.UniversalClient
	github *github.Client
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

// OpenForecaster reads where Redis and GitHub are, and the tokens, from the
// environment.
func OpenForecaster(ctx context.Context, environ map[string]string) (*Forecaster, error) {
	cfg, err := serve.Load[github.Config](ctx, environ)
	if err != nil {
		return nil, err
	}
	rdb, err := openRedis(string(cfg.Redis))
	if err != nil {
		return nil, err
	}
	asking := github.New(cfg, rdb, http.DefaultTransport)
	if asking.Tokens() == 0 {
		return nil, errors.Join(github.ErrNoToken, rdb.Close())
	}
	return &Forecaster{rdb, asking}, nil
}

// Close ends the connection.
func (f *Forecaster) Close() error { return f.rdb.Close() }

// Capacity asks GitHub whose tokens these are and what their users may ask.
func (f *Forecaster) Capacity(ctx context.Context) (github.Capacity, error) {
	return f.github.Capacity(ctx)
}

// Forecast asks GitHub for an owner and the number of its repositories. It fails
// if there is no such owner, or if a repository that it lists does not exist.
func (f *Forecaster) Forecast(ctx context.Context, o Owner) (Forecast, error) {
	var u github.Usage
	is, err := f.github.Owner(ctx, o.Login, &u)
	if err != nil {
		return Forecast{}, err
	}
	v := Forecast{Login: is.Login, Type: is.Type, Repos: int64(len(o.Repos))}
	for _, name := range o.Repos {
		n, _, err := f.github.Named(ctx, o.Login, name, &u)
		if err != nil {
			return v, err
		}
		if n == nil || n.IsPrivate {
			return v, fmt.Errorf("GitHub knows no public repository %s/%s", o.Login, name)
		}
	}
	main := github.ShapeNodes
	if len(o.Repos) == 0 {
		p, err := f.github.ListIDs(ctx, is, "", 1, &u)
		if err != nil {
			return v, err
		}
		if p.Total == nil {
			return v, fmt.Errorf("GitHub does not say how many repositories %s has", is.Login)
		}
		v.Repos, main = *p.Total, github.ShapeList
	}
	return v, f.cost(ctx, &v, main)
}

// cost adds up what a sweep asks, at the page widths learnt so far.
func (f *Forecaster) cost(ctx context.Context, v *Forecast, main github.Shape) error {
	points, work := github.OwnerCost()
	v.Points, v.Seconds = points, work.Seconds()
	for _, part := range []struct {
		shape github.Shape
		share float64
	}{{main, 1}, {github.ShapeNodes, changing}, {github.ShapeHistory, changing}} {
		points, work, err := f.github.Estimate(ctx, part.shape, int(math.Ceil(float64(v.Repos)*part.share)))
		if err != nil {
			return err
		}
		v.Points += points
		v.Seconds += work.Seconds()
	}
	return nil
}
