package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

// Scoped are the parameters of a resource that is about some repositories.
type Scoped struct {
	Common
	Scope
}

// Scope are the parameters that choose which repositories a resource is about.
type Scope struct {
	Repository string `query:"repository" maxLength:"512" doc:"Of this repository, owner/name or its repo_id. Of repository, owner and company one at most; all repositories unless given." example:"facebook/react"`
	Owner      string `query:"owner" maxLength:"256" doc:"Of this owner."`
	Company    string `query:"company" maxLength:"256" doc:"Of this company, as in /api/v1/companies."`
}

// scope finds what the parameters choose, and how fresh and complete its counters are.
func (f *function) scope(ctx context.Context, in *Scope) (hot.Scope, hot.State, error) {
	scope, err := hot.ScopeOf(ctx, f.conn, in.Repository, in.Owner, in.Company)
	if errors.Is(err, hot.ErrManyScopes) {
		return hot.Scope{}, hot.State{}, invalid("query.repository", err.Error(), in.Repository)
	}
	if err != nil {
		return hot.Scope{}, hot.State{}, err
	}
	state, err := hot.StateOf(ctx, f.conn, scope.Filter())
	return scope, state, err
}

type coverageInput struct {
	Scoped
	Days
	By string `query:"by" enum:"kind,day" default:"kind" doc:"day: a row for each kind and day."`
}

type peopleInput struct {
	Scoped
	Window string `query:"window" enum:"7d,30d,90d" default:"30d" doc:"Of concentration and top."`
}

type flowInput struct {
	Scoped
	Window string `query:"window" enum:"7d,30d,90d" default:"30d"`
}

// windowDays are the days of a window of events, which the schema has checked.
func windowDays(window string) int {
	return map[string]int{"7d": 7, "30d": 30, "90d": 90}[window]
}

// events are the resources made of the events of feeds.
func (f *function) events(api huma.API) {
	missing := []int{http.StatusNotFound}
	get(f, api, huma.Operation{
		OperationID: "list-coverage", Path: v1 + "/coverage", Tags: []string{"Events"}, Errors: missing,
		Summary:     "How many of GitHub's events are stored, of those that the counters say there were",
		Description: "GitHub's feeds leave events out, and do not say which. What is made of events is to be read beside this.",
	}, func(ctx context.Context, in *coverageInput) (*Answer[[]hot.Covered], error) {
		scope, state, err := f.scope(ctx, &in.Scope)
		if err != nil {
			return nil, err
		}
		newest, err := hot.Newest(ctx, f.conn)
		if err != nil {
			return nil, err
		}
		span, err := in.span(newest, time.UTC, false)
		if err != nil {
			return nil, err
		}
		read := hot.Coverage
		if in.By == "day" {
			read = hot.CoverageByDay
		}
		found, err := read(ctx, f.conn, scope, span)
		return answer(state, []string{}, found), err
	})
	get(f, api, huma.Operation{
		OperationID: "get-people", Path: v1 + "/people", Tags: []string{"Events"}, Errors: missing,
		Summary: "Who works in repositories: active, new, continuing and returning contributors, and on how few people the merged work hangs",
	}, func(ctx context.Context, in *peopleInput) (*Answer[hot.People], error) {
		scope, state, err := f.scope(ctx, &in.Scope)
		if err != nil {
			return nil, err
		}
		found, err := hot.PeopleOf(ctx, f.conn, scope, windowDays(in.Window))
		return answer(state, []string{}, found), err
	})
	get(f, api, huma.Operation{
		OperationID: "get-flow", Path: v1 + "/flow", Tags: []string{"Events"}, Errors: missing,
		Summary: "How work goes through repositories: waiting times, throughput, gross stars and forks, hours of the week",
	}, func(ctx context.Context, in *flowInput) (*Answer[hot.Flow], error) {
		scope, state, err := f.scope(ctx, &in.Scope)
		if err != nil {
			return nil, err
		}
		found, err := hot.FlowOf(ctx, f.conn, scope, windowDays(in.Window))
		return answer(state, []string{}, found), err
	})
}
