package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/functions/api/page"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
)

// v1 is the path of the first version. What it answers may gain fields and never loses
// one.
const v1 = "/api/v1"

// routes are the resources, their description, and the page.
func (f *function) routes(keys bool) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("M7 Pulse", "1")
	config.CreateHooks = nil // they add $schema to every answer
	config.DocsPath, config.SchemasPath = "", ""
	config.RejectUnknownQueryParameters = true // a filter that is misspelt must not choose all
	config.Info.Description = "How fast open source moves. Times are UTC unless tz says otherwise. What is not known is null, never zero."
	config.Info.License = &huma.License{Name: "MIT", Identifier: "MIT"}
	if keys {
		config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer"}}
		config.Security = []map[string][]string{{"key": {}}}
	}
	api := humago.New(mux, config)
	f.repositories(api)
	f.groups(api)
	f.rankings(api)
	f.overviews(api)
	f.events(api)
	f.signals(api)
	f.embeds(api)
	f.health(api)
	reference, err := referencePage(api.OpenAPI())
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = w.Write(reference) // the caller may be gone
	})
	mux.HandleFunc("GET /api/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "no resource "+r.URL.Path+": /openapi.json lists them")
	})
	calls := assistantHandler(mux)
	mux.Handle("POST "+assistants, calls)
	mux.Handle("GET "+assistants, calls) // which it refuses: the page has all other paths
	files, err := page.Handler(keys)
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /", discoverable(files))
	return mux, nil
}

// figures are the fields of a repository in a list, unless others are asked for.
func figures() []string {
	return []string{
		"repo_id", "name_with_owner", "owner", "company", "description", "primary_language", "is_archived", "stars", "forks", "open_issues",
		"stars_delta_24h", "stars_delta_7d", "stars_delta_30d", "stars_per_day_24h", "stars_per_day_7d", "stars_per_day_30d", "is_breakout", "pushed_at", "observed_at",
	}
}

type listInput struct {
	Common
	Owner    string      `query:"owner" maxLength:"256" doc:"Those of this organisation or person."`
	Company  string      `query:"company" maxLength:"256" doc:"Those of this company, as in /api/v1/companies."`
	Language string      `query:"language" maxLength:"256" doc:"Those whose primary language it is."`
	MinStars int64       `query:"min_stars" minimum:"0" doc:"Those with as many stars or more."`
	Name     string      `query:"name" maxLength:"256" doc:"Those whose owner/name has this in it, in any case."`
	Current  string      `query:"current" enum:"true,false" doc:"true: those read in the three days before the newest reading of all; false: those that are out of date; both unless given."`
	Sort     Sort        `query:"sort"`
	Fields   []FieldName `query:"fields" maxItems:"300" doc:"The fields wanted, separated by commas; the usual ones unless given."`
	Limit    int         `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor   string      `query:"cursor" maxLength:"65536" doc:"next of the page before. All else must stay as it was."`
}

// Name are the parameters that name one repository.
type Name struct {
	Owner  string `path:"owner" maxLength:"256" example:"facebook"`
	Name   string `path:"name" maxLength:"256" example:"react"`
	RepoID int64  `query:"repo_id" doc:"Where several have had the name, the one with this id."`

	query string // as it was sent, for a redirect
}

// Resolve implements huma.Resolver.
func (n *Name) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	n.query = u.RawQuery
	return nil
}

// Named are the parameters of a resource of one repository.
type Named struct {
	Common
	Name
}

type seriesInput struct {
	Named
	Counter Counter `query:"counter"`
	Window  string  `query:"window" enum:"1h,24h,7d,30d" doc:"The rate of the counter over it, instead of the counter itself."`
	Days
	Step string `query:"step" enum:"day,hour" default:"day"`
	Mode string `query:"mode" enum:"raw,indexed" default:"raw" doc:"indexed: the first known value of the span is 100."`
	Zone string `query:"tz" maxLength:"64" doc:"The time zone by which days are cut, a name of the tz database; UTC unless given."`
}

// Series is one line.
type Series struct {
	Repository string      `json:"repository"`
	RepoID     int64       `json:"repo_id"`
	Definition string      `json:"definition" doc:"The field that the values are of."`
	Unit       string      `json:"unit"`
	Mode       string      `json:"mode" enum:"raw,indexed"`
	Step       string      `json:"step" enum:"day,hour"`
	Points     []hot.Point `json:"points" doc:"One for each day or hour of the span, in order; null where nothing was read."`
}

// Rows implements table.Rows.
func (s Series) Rows() any { return s.Points }

func (f *function) repositories(api huma.API) {
	get(f, api, huma.Operation{OperationID: "list-repositories", Path: v1 + "/repositories", Tags: []string{"Repositories"}, Summary: "Repositories, filtered and sorted, page by page"}, f.list)
	get(f, api, huma.Operation{
		OperationID: "get-repository", Path: v1 + "/repositories/{owner}/{name}", Tags: []string{"Repositories"}, Summary: "All that is known of a repository",
		Description: "A repository that was renamed is answered with 301 to its name of today.", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *Named) (*Answer[Repository], error) {
		r, state, err := f.find(ctx, &in.Name, "", hot.Definitions())
		if err != nil {
			return nil, err
		}
		return answer(state, names(r.Fields), Repository{r}), nil
	})
	get(f, api, huma.Operation{
		OperationID: "get-repository-series", Path: v1 + "/repositories/{owner}/{name}/series", Tags: []string{"Repositories"}, Summary: "One figure of a repository over time",
		Errors: []int{http.StatusNotFound},
	}, f.series)
}

func (f *function) list(ctx context.Context, in *listInput) (*Answer[Repositories], error) {
	if in.Sort == "" {
		in.Sort = "-stars"
	}
	order := in.Sort.order()
	wanted := figures()
	if len(in.Fields) > 0 {
		wanted = nil
		for _, n := range in.Fields {
			if !slices.Contains(wanted, string(n)) {
				wanted = append(wanted, string(n))
			}
		}
	}
	shown := len(wanted)
	if !slices.Contains(wanted, order.By.Name) {
		wanted = append(wanted, order.By.Name)
	}
	fields, unknown := hot.DefinedAll(wanted)
	if unknown != "" {
		return nil, invalid("query.fields", "is not defined: /api/v1/definitions lists them", unknown)
	}
	filter := hot.Filter{Owner: in.Owner, Company: in.Company, Language: in.Language, Name: in.Name, MinStars: in.MinStars, Current: in.Current == "true", OutOfDate: in.Current == "false"}
	of := fmt.Sprintf("%+v %s", filter, in.Sort)
	after, err := decodeCursor[hot.Mark](in.Cursor, of)
	if err != nil {
		return nil, err
	}
	state, err := hot.StateOf(ctx, f.conn, filter)
	if err != nil {
		return nil, err
	}
	found, err := hot.Page(ctx, f.conn, filter, order, after, fields, in.Limit+1)
	if err != nil {
		return nil, err
	}
	var next *string
	if len(found.List) > in.Limit {
		found.List = found.List[:in.Limit]
		if next, err = encodeCursor(of, order.MarkOf(found.List[in.Limit-1])); err != nil {
			return nil, err
		}
	}
	found.Fields = found.Fields[:shown]
	for i := range found.List {
		found.List[i].Fields, found.List[i].Values = found.Fields, found.List[i].Values[:shown]
	}
	a := answer(state, names(found.Fields), Repositories{found})
	a.Next = next
	return a, nil
}

func names(definitions []field.Definition) []string {
	out := make([]string, len(definitions))
	for i, d := range definitions {
		out[i] = d.Name
	}
	return out
}

// find reads a repository by its name, and how fresh and complete that is. One that
// has another name now is answered by a redirect to it, with below after the name.
func (f *function) find(ctx context.Context, in *Name, below string, fields []field.Definition) (hot.Record, hot.State, error) {
	name := in.Owner + "/" + in.Name
	found, err := hot.RecordsOf(ctx, f.conn, name, fields)
	if err != nil {
		return hot.Record{}, hot.State{}, err
	}
	for _, r := range found {
		if in.RepoID == 0 || r.RepoID == in.RepoID {
			state, err := hot.StateOf(ctx, f.conn, hot.Filter{Owner: r.Owner})
			state.AsOf = &r.At
			return r, state, err
		}
	}
	if len(found) > 0 {
		return hot.Record{}, hot.State{}, huma.Error404NotFound(fmt.Sprintf("no repository %s with repo_id %d has been observed", name, in.RepoID))
	}
	now, err := hot.Renamed(ctx, f.conn, name)
	if err != nil {
		return hot.Record{}, hot.State{}, err
	}
	if owner, short, ok := strings.Cut(now, "/"); ok && !strings.EqualFold(now, name) {
		moved := huma.NewError(http.StatusMovedPermanently, name+" is "+now+" now")
		to := v1 + "/repositories/" + url.PathEscape(owner) + "/" + url.PathEscape(short) + below
		if in.query != "" {
			to += "?" + in.query
		}
		return hot.Record{}, hot.State{}, huma.ErrorWithHeaders(moved, http.Header{"Location": {to}})
	}
	return hot.Record{}, hot.State{}, huma.Error404NotFound("no repository " + name + " has been observed: its owner is not swept, or it is private, or gone since before the first reading")
}

func (f *function) series(ctx context.Context, in *seriesInput) (*Answer[Series], error) {
	if in.Counter == "" {
		in.Counter = "stars"
	}
	d, err := plotted(string(in.Counter), in.Window, definitionsWhere(hot.Plottable))
	if err != nil {
		return nil, err
	}
	zone, err := zoneOf(in.Zone)
	if err != nil {
		return nil, err
	}
	r, state, err := f.find(ctx, &in.Name, "/series", nil)
	if err != nil {
		return nil, err
	}
	newest, err := hot.Newest(ctx, f.conn)
	if err != nil {
		return nil, err
	}
	span, err := in.span(newest, zone, in.Step == "hour")
	if err != nil {
		return nil, err
	}
	points, err := hot.SeriesOf(ctx, f.conn, r.RepoID, d, span)
	if err != nil {
		return nil, err
	}
	if in.Mode == "indexed" {
		values := make([]*float64, len(points))
		for i, p := range points {
			values[i] = p.Value
		}
		for i, v := range hot.Index(values) {
			points[i].Value = v
		}
	}
	a := answer(state, []string{d.Name}, Series{Repository: r.Name, RepoID: r.RepoID, Definition: d.Name, Unit: unit(d, in.Mode), Mode: in.Mode, Step: in.Step, Points: points})
	a.TimeZone = zone.String()
	return a, nil
}

func unit(d field.Definition, mode string) string {
	if mode == "indexed" {
		return "first = 100"
	}
	return d.Unit
}

type groupsInput struct {
	Common
	Window string `query:"window" enum:"1h,24h,7d,30d" default:"7d"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many, the fastest first."`
}

// GroupDetail is a company or an owner.
type GroupDetail struct {
	Name    string       `json:"name"`
	Windows []hot.Group  `json:"windows" doc:"How its repositories moved; empty if all are out of date."`
	Owners  []hot.Member `json:"owners"`
}

// Rows implements table.Rows.
func (g GroupDetail) Rows() any { return g.Windows }

// GroupSeries is the line of a company or an owner.
type GroupSeries struct {
	Name       string           `json:"name"`
	Definition string           `json:"definition" doc:"The field that is summed."`
	Unit       string           `json:"unit"`
	Mode       string           `json:"mode" enum:"raw,indexed"`
	Points     []hot.GroupPoint `json:"points" doc:"One for each UTC day of the span, in order; null where nothing was read."`
}

// Rows implements table.Rows.
func (s GroupSeries) Rows() any { return s.Points }

// CompanyNamed are the parameters of a resource of one company.
type CompanyNamed struct {
	Common
	Company string `path:"company" maxLength:"256" example:"meta"`
}

// OwnerNamed are the parameters of a resource of one owner.
type OwnerNamed struct {
	Common
	Owner string `path:"owner" maxLength:"256" example:"facebook"`
}

// GroupLine are the parameters of the line of a group.
type GroupLine struct {
	Counter SummedCounter `query:"counter"`
	Window  string        `query:"window" enum:"24h,7d,30d" doc:"The rate of the counter over it, instead of the counter itself."`
	Days
	Mode string `query:"mode" enum:"raw,indexed" default:"raw" doc:"indexed: the first known value of the span is 100."`
}

type companySeriesInput struct {
	CompanyNamed
	GroupLine
}

type ownerSeriesInput struct {
	OwnerNamed
	GroupLine
}

// groupDefinitions are the definitions that the figures of groups are sums of.
func groupDefinitions(window string) []string {
	return []string{"stars", "forks", "stars_delta_" + window, "stars_per_day_" + window}
}

func (f *function) groups(api huma.API) {
	for _, g := range []struct {
		kind         hot.Kind
		plural, what string
	}{{hot.Company, "companies", "Companies"}, {hot.Owner, "owners", "Owners"}, {hot.Language, "languages", "Languages"}} {
		get(f, api, huma.Operation{OperationID: "list-" + g.plural, Path: v1 + "/" + g.plural, Tags: []string{g.what}, Summary: g.what + ", by stars a day"},
			func(ctx context.Context, in *groupsInput) (*Answer[[]hot.Group], error) {
				state, err := hot.StateOf(ctx, f.conn, hot.Filter{})
				if err != nil {
					return nil, err
				}
				found, err := hot.Groups(ctx, f.conn, g.kind, in.Window, "", in.Limit)
				return answer(state, groupDefinitions(in.Window), found), err
			})
	}
	missing := []int{http.StatusNotFound}
	get(f, api, huma.Operation{OperationID: "get-company", Path: v1 + "/companies/{company}", Tags: []string{"Companies"}, Summary: "A company over all windows, and its owners", Errors: missing},
		func(ctx context.Context, in *CompanyNamed) (*Answer[GroupDetail], error) {
			return f.group(ctx, hot.Company, in.Company)
		})
	get(f, api, huma.Operation{OperationID: "get-owner", Path: v1 + "/owners/{owner}", Tags: []string{"Owners"}, Summary: "An owner over all windows", Errors: missing},
		func(ctx context.Context, in *OwnerNamed) (*Answer[GroupDetail], error) {
			return f.group(ctx, hot.Owner, in.Owner)
		})
	get(f, api, huma.Operation{OperationID: "get-company-series", Path: v1 + "/companies/{company}/series", Tags: []string{"Companies"}, Summary: "One figure of a company over time", Errors: missing},
		func(ctx context.Context, in *companySeriesInput) (*Answer[GroupSeries], error) {
			return f.groupSeries(ctx, hot.Company, in.Company, in.GroupLine)
		})
	get(f, api, huma.Operation{OperationID: "get-owner-series", Path: v1 + "/owners/{owner}/series", Tags: []string{"Owners"}, Summary: "One figure of an owner over time", Errors: missing},
		func(ctx context.Context, in *ownerSeriesInput) (*Answer[GroupSeries], error) {
			return f.groupSeries(ctx, hot.Owner, in.Owner, in.GroupLine)
		})
}

func (f *function) members(ctx context.Context, kind hot.Kind, name string) ([]hot.Member, hot.State, error) {
	members, err := hot.Members(ctx, f.conn, kind, name)
	if err != nil {
		return nil, hot.State{}, err
	}
	if len(members) == 0 {
		return nil, hot.State{}, huma.Error404NotFound(fmt.Sprintf("no %s %s has been observed", kind, name))
	}
	filter := hot.Filter{Company: name}
	if kind == hot.Owner {
		filter = hot.Filter{Owner: name}
	}
	state, err := hot.StateOf(ctx, f.conn, filter)
	return members, state, err
}

func (f *function) group(ctx context.Context, kind hot.Kind, name string) (*Answer[GroupDetail], error) {
	members, state, err := f.members(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	windows, err := hot.Groups(ctx, f.conn, kind, "", name, 4)
	if err != nil {
		return nil, err
	}
	d := GroupDetail{Name: name, Windows: windows, Owners: members}
	if kind == hot.Owner {
		d.Name = members[0].Owner
	}
	var definitions []string
	for _, w := range []string{"1h", "24h", "7d", "30d"} {
		definitions = append(definitions, groupDefinitions(w)[2:]...)
	}
	return answer(state, append([]string{"stars", "forks"}, definitions...), d), nil
}

func (f *function) groupSeries(ctx context.Context, kind hot.Kind, name string, in GroupLine) (*Answer[GroupSeries], error) {
	if in.Counter == "" {
		in.Counter = "stars"
	}
	d, err := plotted(string(in.Counter), in.Window, hot.Summed())
	if err != nil {
		return nil, err
	}
	members, state, err := f.members(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	if kind == hot.Owner {
		name = members[0].Owner
	}
	newest, err := hot.Newest(ctx, f.conn)
	if err != nil {
		return nil, err
	}
	span, err := in.span(newest, time.UTC, false)
	if err != nil {
		return nil, err
	}
	points, err := hot.GroupSeries(ctx, f.conn, kind, name, d, span)
	if err != nil {
		return nil, err
	}
	if in.Mode == "indexed" {
		values := make([]*float64, len(points))
		for i, p := range points {
			values[i] = p.Value
		}
		for i, v := range hot.Index(values) {
			points[i].Value = v
		}
	}
	return answer(state, []string{d.Name}, GroupSeries{Name: name, Definition: d.Name, Unit: unit(d, in.Mode), Mode: in.Mode, Points: points}), nil
}

type rankingsInput struct {
	Common
	Window string `query:"window" enum:"1h,24h,7d,30d" default:"7d"`
	Each   int    `query:"each" minimum:"1" maximum:"1000" default:"5" doc:"How many repositories of each company."`
}

// Ranked is one repository of a ranking.
type Ranked struct {
	Company    string    `json:"company" doc:"The owner where it belongs to no company."`
	Repository string    `json:"repository"`
	RepoID     int64     `json:"repo_id"`
	Language   string    `json:"language"`
	Stars      int64     `json:"stars"`
	Delta      *int64    `json:"stars_delta" doc:"Net stars over the window."`
	PerDay     *float64  `json:"stars_per_day" doc:"By which it is ranked."`
	ObservedAt time.Time `json:"observed_at"`
}

type compareInput struct {
	Common
	Repositories []string `query:"repos" required:"true" minItems:"1" maxItems:"50" doc:"owner/name or repo_id, separated by commas." example:"[\"facebook/react\",\"microsoft/vscode\"]"`
	Days         int      `query:"days" minimum:"2" maximum:"366" default:"30" doc:"Of the lines, up to the newest reading of all."`
}

func (f *function) rankings(api huma.API) {
	get(f, api, huma.Operation{OperationID: "list-rankings", Path: v1 + "/rankings", Tags: []string{"Rankings"}, Summary: "The fastest movers of each company, as pulse top shows them"},
		func(ctx context.Context, in *rankingsInput) (*Answer[[]Ranked], error) {
			state, err := hot.StateOf(ctx, f.conn, hot.Filter{})
			if err != nil {
				return nil, err
			}
			movers, err := hot.Movers(ctx, f.conn, in.Window, in.Each)
			out := []Ranked{}
			for _, m := range movers {
				out = append(out, Ranked{m.Company, m.Label(), m.RepoID, m.Language, m.Stars, m.Delta, m.PerDay, m.ObservedAt.UTC()})
			}
			return answer(state, []string{"stars", "stars_delta_" + in.Window, "stars_per_day_" + in.Window}, out), err
		})
	get(f, api, huma.Operation{
		OperationID: "compare-repositories", Path: v1 + "/compare", Tags: []string{"Rankings"}, Summary: "Repositories side by side, as pulse compare shows them", Errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *compareInput) (*Answer[[]hot.Compared], error) {
		state, err := hot.StateOf(ctx, f.conn, hot.Filter{})
		if err != nil {
			return nil, err
		}
		found, err := hot.Repositories(ctx, f.conn, in.Repositories, in.Days)
		if err != nil {
			return nil, err
		}
		return answer(state, []string{"stars", "forks", "open_issues", "stars_delta_7d", "stars_delta_30d", "stars_per_day_7d"}, hot.Compare(found)), nil
	})
}

type sweepsInput struct {
	Common
	Owner  string `query:"owner" maxLength:"256"`
	Status string `query:"status" enum:"complete,incomplete,unknown_owner,failed"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" maxLength:"65536" doc:"next of the page before. All else must stay as it was."`
}

type freshnessInput struct {
	Common
}

type definitionsInput struct {
	Common
	Name []FieldName `query:"name" maxItems:"300" doc:"Those of these names, separated by commas; all unless given."`
}

// Definition says what a field is.
type Definition struct {
	Name     string `json:"name"`
	Kind     string `json:"kind" enum:"integer,number,flag,time,text,texts,languages"`
	Nullable bool   `json:"nullable" doc:"It may be null: not known."`
	Unit     string `json:"unit"`
	Text     string `json:"text" doc:"What it is, in one sentence."`
}

func kindName(k field.Kind) string {
	return map[field.Kind]string{
		field.Int: "integer", field.Float: "number", field.Bool: "flag", field.Time: "time", field.Text: "text", field.Texts: "texts", field.Languages: "languages",
	}[k]
}

// health are the resources that say how far the others can be trusted.
func (f *function) health(api huma.API) {
	get(f, api, huma.Operation{OperationID: "list-sweeps", Path: v1 + "/sweeps", Tags: []string{"Data health"}, Summary: "The ledger: how complete each sweep of each owner was, newest first"},
		func(ctx context.Context, in *sweepsInput) (*Answer[[]event.OwnerSwept], error) {
			of := in.Owner + " " + in.Status
			after, err := decodeCursor[hot.SweepMark](in.Cursor, of)
			if err != nil {
				return nil, err
			}
			state, err := hot.StateOf(ctx, f.conn, hot.Filter{Owner: in.Owner})
			if err != nil {
				return nil, err
			}
			found, err := hot.Sweeps(ctx, f.conn, in.Owner, in.Status, after, in.Limit+1)
			if err != nil {
				return nil, err
			}
			a := answer(state, []string{}, found)
			if len(found) > in.Limit {
				a.Data = found[:in.Limit]
				last := a.Data[in.Limit-1]
				a.Next, err = encodeCursor(of, hot.SweepMark{FinishedAt: last.FinishedAt, SweepID: last.SweepID, Owner: last.Owner})
			}
			return a, err
		})
	get(f, api, huma.Operation{OperationID: "list-freshness", Path: v1 + "/freshness", Tags: []string{"Data health"}, Summary: "How fresh and how complete the readings of each owner are"},
		func(ctx context.Context, in *freshnessInput) (*Answer[[]hot.Freshness], error) {
			state, err := hot.StateOf(ctx, f.conn, hot.Filter{})
			if err != nil {
				return nil, err
			}
			found, err := hot.FreshnessOf(ctx, f.conn, 10_000)
			return answer(state, []string{}, found), err
		})
	get(f, api, huma.Operation{OperationID: "list-definitions", Path: v1 + "/definitions", Tags: []string{"Data health"}, Summary: "What each field is, and its unit"},
		func(ctx context.Context, in *definitionsInput) (*Answer[[]Definition], error) {
			out := []Definition{}
			for _, d := range hot.Definitions() {
				if len(in.Name) == 0 || slices.Contains(in.Name, FieldName(d.Name)) {
					out = append(out, Definition{d.Name, kindName(d.Kind), d.Null, d.Unit, d.Text})
				}
			}
			return answer(hot.State{}, []string{}, out), nil
		})
}
