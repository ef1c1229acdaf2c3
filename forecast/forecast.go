// Package forecast adds up what a sweep of owners costs.
package forecast

import (
	"context"
	"errors"
	"fmt"

	"github.com/m7pulse/m7pulse/functions/fetch-org/github"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
)

// Forecast is the cost of one sweep, which is an hour's.
type Forecast struct {
	Owners   []sweep.Forecast `json:"owners"` // asked about
	Listed   sweep.Forecast   `json:"listed"` // all others that are swept, together
	Capacity github.Capacity  `json:"capacity"`
	Enough   bool             `json:"enough"` // the tokens can do all of it

	// Unknown has an error for each listed owner that GitHub does not answer for.
	// Such an owner is not in Listed; the ledger has the error too.
	Unknown []error `json:"-"`
}

// Of asks GitHub what owners cost in addition to those that are listed, or, without
// any, what those that are listed cost. It fails if one of the owners does not exist.
func Of(ctx context.Context, env map[string]string, list *sweep.Owners, owners []sweep.Owner) (*Forecast, error) {
	f, err := sweep.OpenForecaster(ctx, env)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	listed, err := list.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(owners) == 0 {
		owners, listed = listed, nil
	}
	v := &Forecast{Listed: sweep.Forecast{Login: "listed already"}}
	asked := map[string]bool{}
	var errs []error
	for _, o := range owners {
		asked[o.Login] = true
		one, err := f.Forecast(ctx, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v.Owners = append(v.Owners, one)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, o := range listed {
		if asked[o.Login] {
			continue
		}
		one, err := f.Forecast(ctx, o)
		if err != nil {
			v.Unknown = append(v.Unknown, fmt.Errorf("%s: %w", o.Login, err))
			continue
		}
		v.Listed.Repos += one.Repos
		v.Listed.Points += one.Points
		v.Listed.Seconds += one.Seconds
	}
	if v.Capacity, err = f.Capacity(ctx); err != nil {
		return nil, err
	}
	points, seconds := v.Sum()
	v.Enough = points <= v.Capacity.Points && seconds <= v.Capacity.Seconds
	return v, nil
}

// Sum is the cost of all owners: points of GitHub's budget, and seconds of its work.
func (v *Forecast) Sum() (points int64, seconds float64) {
	points, seconds = v.Listed.Points, v.Listed.Seconds
	for _, o := range v.Owners {
		points, seconds = points+o.Points, seconds+o.Seconds
	}
	return points, seconds
}
