package github

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/m7pulse/m7pulse/shared/quota"
)

// Capacity is what the configured tokens can ask.
type Capacity struct {
	Tokens  int     `json:"tokens"`
	Refused int     `json:"refused"` // of the tokens, by GitHub
	Users   int     `json:"users"`   // of the others; several tokens of one user count once
	Points  int64   `json:"points_per_hour"`
	Seconds float64 `json:"seconds_per_hour"`
}

// Capacity asks GitHub whose tokens these are and what their users may ask. A
// token that GitHub refuses is asked about twice: now and then it refuses a good
// one.
func (g *Client) Capacity(ctx context.Context) (Capacity, error) {
	c := Capacity{Tokens: g.Tokens()}
	users := map[string]bool{}
	for _, t := range g.tokens.Each {
		q, err := g.viewer(ctx, t)
		if errors.Is(err, quota.ErrRefused) {
			select {
			case <-time.After(MinInterval):
			case <-ctx.Done():
				return c, context.Cause(ctx)
			}
			q, err = g.viewer(ctx, t)
		}
		if errors.Is(err, quota.ErrRefused) {
			c.Refused++
			continue
		}
		if err != nil {
			return c, fmt.Errorf("token %d of %d: %w", t.Number, c.Tokens, err)
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
func (g *Client) viewer(ctx context.Context, t *quota.Token) (viewerQuery, error) {
	var q viewerQuery
	x := &exchange{transport: g.transport, token: t.Value}
	_, err := g.exchange(ctx, x, fmt.Sprintf("viewer %d", t.Number), &q, nil)
	return q, err
}

// Estimate is what it will cost to ask for a number of repositories with queries
// of a shape, at the width that has been learnt so far: in points, and in GitHub's
// work.
func (g *Client) Estimate(ctx context.Context, s Shape, repos int) (points int64, work time.Duration, err error) {
	w, err := g.widths.of(ctx, s)
	if err != nil {
		return 0, 0, err
	}
	queries := int64((repos + w.n() - 1) / w.n())
	return queries * s.points(min(repos, w.n())), w.expects(1) * time.Duration(repos), nil
}

// OwnerCost is what it costs to ask what an owner is.
func OwnerCost() (points int64, work time.Duration) { return shapeOwner.points(1), assumed }
