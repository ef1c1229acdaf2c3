package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/errgroup"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
)

// LineField is a field that lines are drawn of: one that is kept by day.
type LineField string

// Schema implements huma.SchemaProvider.
func (LineField) Schema(huma.Registry) *huma.Schema {
	s := enumOf(hot.Summed(), itself)
	s.Description = "A field that is kept by day."
	return s
}

// Lines are several lines over the same days.
type Lines struct {
	Kind     hot.Kind   `json:"kind" enum:"repository,owner,company,language"`
	FirstDay string     `json:"first_day" format:"date" doc:"The UTC day of the first value of each line."`
	Lines    []hot.Line `json:"lines"`
	// Signals are those of what the lines are of, on the days of the lines.
	Signals []event.Signal `json:"signals" doc:"The newest signals of what the lines are of, on their days; as many as signals asks for."`
}

// LineRow is one value of a line, in the forms that hold rows.
type LineRow struct {
	Day        string   `json:"day"`
	Name       string   `json:"name"`
	Definition string   `json:"definition"`
	Value      *float64 `json:"value"`
}

// Rows implements table.Rows.
func (l Lines) Rows() any {
	rows := []LineRow{}
	first, err := time.Parse(time.DateOnly, l.FirstDay)
	if err != nil { // a store that is empty has no days
		return rows
	}
	for _, line := range l.Lines {
		for i, v := range line.Values {
			rows = append(rows, LineRow{first.AddDate(0, 0, i).Format(time.DateOnly), line.Name, line.Definition, v})
		}
	}
	return rows
}

// Overview is how repositories move: all of them, a company's or an owner's.
type Overview struct {
	Window       string       `json:"window" enum:"1h,24h,7d,30d"`
	Repositories int64        `json:"repositories" doc:"All that are known, those that are out of date too."`
	Current      int64        `json:"current" doc:"Those read in the three days before the newest reading of all."`
	ChangesFrom  *time.Time   `json:"changes_from" doc:"When changes over the window are first known, if its repositories are read on; null where one is known."`
	Total        *hot.Group   `json:"total,omitempty" doc:"The company or the owner itself; missing of all, and if all its repositories are out of date."`
	Groups       []hot.Group  `json:"groups" doc:"The companies; of a company its owners; of an owner none."`
	Lines        Lines        `json:"lines" doc:"The largest groups; of an owner, and of a company of one owner, its largest repositories."`
	Rising       Repositories `json:"rising" doc:"Those with the most stars a day."`
	Falling      Repositories `json:"falling" doc:"Those that lose the most stars a day."`
	OutOfDate    Repositories `json:"out_of_date" doc:"Those not read in the three days before the newest reading of all, the last read first."`
	// Signals are of the whole past: on what is quiet the newest may be old.
	Signals []event.Signal `json:"signals" doc:"The newest signals."`
}

// Rows implements table.Rows.
func (o Overview) Rows() any { return o.Groups }

// mostLines is how many lines an overview has: as many as people can tell apart.
const mostLines = 7

type overviewInput struct {
	Common
	Company string    `query:"company" maxLength:"256" doc:"Of this company."`
	Owner   string    `query:"owner" maxLength:"256" doc:"Of this owner. Not with a company."`
	Window  string    `query:"window" enum:"1h,24h,7d,30d" default:"7d"`
	Days    int       `query:"days" minimum:"2" maximum:"1100" default:"90" doc:"Of the lines, up to the newest reading of all."`
	Field   LineField `query:"field" doc:"Of the lines; stars a day over the window unless given, over a day where that is an hour."`
	Limit   int       `query:"limit" minimum:"1" maximum:"100" default:"8" doc:"Of each list of repositories, and of signals."`
}

type linesInput struct {
	Common
	Kind   string      `query:"kind" enum:"repository,owner,company,language" default:"company"`
	Names  []string    `query:"names" maxItems:"10" doc:"owner/name or repo_id of repositories, the names of groups, separated by commas; those with the most stars unless given." example:"[\"meta\",\"microsoft\"]"`
	Fields []LineField `query:"fields" maxItems:"20" doc:"Separated by commas; stars unless given."`
	Days   int         `query:"days" minimum:"2" maximum:"1100" default:"90" doc:"Up to the newest reading of all."`
	Mode   string      `query:"mode" enum:"raw,indexed" default:"raw" doc:"indexed: the first known value of each line is 100."`
	Limit  int         `query:"limit" minimum:"1" maximum:"10" default:"7" doc:"Of names, where none are given."`
	// Signals mark lines, so that a chart with its marks is one answer.
	Signals int `query:"signals" minimum:"0" maximum:"200" default:"0" doc:"How many signals of each repository, owner or company; languages have none."`
}

func (f *function) overviews(api huma.API) {
	get(f, api, huma.Operation{
		OperationID: "get-overview", Path: v1 + "/overview", Tags: []string{"Rankings"}, Summary: "Companies side by side, what rises, falls and is out of date, and the newest signals",
		Errors: []int{http.StatusNotFound},
	}, f.overview)
	get(f, api, huma.Operation{
		OperationID: "list-lines", Path: v1 + "/lines", Tags: []string{"Rankings"}, Summary: "Fields of several repositories or groups, day by day", Errors: []int{http.StatusNotFound},
	}, f.lines)
}

// lastDays is the span of some days up to that of the newest reading of all.
func (f *function) lastDays(ctx context.Context, days int) (hot.Span, error) {
	newest, err := hot.Newest(ctx, f.conn)
	to := newest.Truncate(24 * time.Hour)
	return hot.Span{From: to.AddDate(0, 0, 1-days), To: to, Zone: time.UTC}, err
}

func (f *function) lines(ctx context.Context, in *linesInput) (*Answer[Lines], error) {
	var wanted []string
	for _, n := range in.Fields {
		if !slices.Contains(wanted, string(n)) {
			wanted = append(wanted, string(n))
		}
	}
	if len(wanted) == 0 {
		wanted = []string{"stars"}
	}
	fields, unknown := hot.DefinedAll(wanted)
	if unknown != "" {
		return nil, invalid("query.fields", "is not defined: /api/v1/definitions lists them", unknown)
	}
	state, err := hot.StateOf(ctx, f.conn, hot.Filter{})
	if err != nil {
		return nil, err
	}
	span, err := f.lastDays(ctx, in.Days)
	if err != nil {
		return nil, err
	}
	found, err := hot.Lines(ctx, f.conn, hot.Kind(in.Kind), in.Names, fields, span, in.Limit)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && len(in.Names) > 0 {
		return nil, huma.Error404NotFound(fmt.Sprintf("no %s %s has been observed", in.Kind, strings.Join(in.Names, ", ")))
	}
	if in.Mode == "indexed" {
		for i := range found {
			found[i].Values, found[i].Unit = hot.Index(found[i].Values), unit(field.Definition{}, in.Mode)
		}
	}
	signals, err := f.marks(ctx, hot.Kind(in.Kind), found, span, in.Signals)
	if err != nil {
		return nil, err
	}
	return answer(state, wanted, Lines{hot.Kind(in.Kind), span.From.Format(time.DateOnly), found, signals}), nil
}

// marks are the newest signals of what lines are of, limit at most of each.
func (f *function) marks(ctx context.Context, kind hot.Kind, lines []hot.Line, span hot.Span, limit int) ([]event.Signal, error) {
	out := []event.Signal{}
	asked := map[string]bool{}
	for _, l := range lines {
		scope := hot.Scope{}
		switch kind {
		case hot.Repository:
			scope.RepoID = *l.RepoID
		case hot.Owner:
			scope.Owner = l.Name
		case hot.Company:
			scope.Company = l.Name
		}
		of := fmt.Sprint(scope.RepoID, scope.Owner, scope.Company)
		if limit == 0 || kind == hot.Language || asked[of] { // several fields of one
			continue
		}
		asked[of] = true
		found, err := hot.Signals(ctx, f.conn, hot.SignalChoice{Scope: scope, From: span.From, To: span.To.AddDate(0, 0, 1)}, nil, limit)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (f *function) overview(ctx context.Context, in *overviewInput) (*Answer[Overview], error) {
	if in.Company != "" && in.Owner != "" {
		return nil, invalid("query.owner", "want a company or an owner, not both", in.Owner)
	}
	filter := hot.Filter{Company: in.Company, Owner: in.Owner}
	stars, perDay := "stars_delta_"+in.Window, "stars_per_day_"+in.Window
	drawn := string(in.Field)
	if drawn == "" {
		drawn = "stars_per_day_" + strings.Replace(in.Window, "1h", "24h", 1)
	}
	fields, unknown := hot.DefinedAll([]string{"repo_id", "name_with_owner", "owner", "company", "primary_language", "stars", stars, perDay, "observed_at", drawn})
	if unknown != "" {
		return nil, invalid("query.field", "is not defined: /api/v1/definitions lists them", unknown)
	}
	line := fields[len(fields)-1]
	fields = fields[:len(fields)-1]
	rate, _ := hot.Define(perDay)
	read, _ := hot.Define("observed_at")
	upToDate, stale := filter, filter
	upToDate.Current, stale.OutOfDate = true, true

	o := Overview{Window: in.Window}
	var state hot.State
	// None waits for another: most of an answer's time is ClickHouse's.
	all, reading := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		state, err = hot.StateOf(reading, f.conn, filter)
		return err
	})
	all.Go(func() (err error) {
		o.Repositories, o.Current, err = hot.Known(reading, f.conn, filter)
		return err
	})
	all.Go(func() error { return f.groupsOf(reading, in, &o, line) })
	all.Go(func() (err error) {
		o.Signals, err = hot.Signals(reading, f.conn, hot.SignalChoice{Scope: hot.Scope{Owner: in.Owner, Company: in.Company}}, nil, in.Limit)
		return err
	})
	list := func(to *Repositories, filter hot.Filter, order hot.Order, keep func(rate float64) bool) {
		all.Go(func() error {
			found, err := hot.Page(reading, f.conn, filter, order, nil, fields, in.Limit)
			if keep != nil {
				found.List = slices.DeleteFunc(found.List, func(r hot.Record) bool {
					v, known := r.Value(perDay).(float64)
					return !known || !keep(v)
				})
			}
			*to = Repositories{found}
			return err
		})
	}
	list(&o.Rising, upToDate, hot.Order{By: rate, Down: true}, func(rate float64) bool { return rate > 0 })
	list(&o.Falling, upToDate, hot.Order{By: rate}, func(rate float64) bool { return rate < 0 })
	list(&o.OutOfDate, stale, hot.Order{By: read, Down: true}, nil)
	if err := all.Wait(); err != nil {
		return nil, err
	}
	switch {
	case state.AsOf == nil && in.Company != "":
		return nil, huma.Error404NotFound("no company " + in.Company + " has been observed")
	case state.AsOf == nil && in.Owner != "":
		return nil, huma.Error404NotFound("no owner " + in.Owner + " has been observed")
	}
	if changed := func(g hot.Group) bool { return g.StarsDelta != nil }; !slices.ContainsFunc(o.Groups, changed) && (o.Total == nil || !changed(*o.Total)) {
		from, err := hot.ChangesFrom(ctx, f.conn, filter, in.Window)
		if err != nil {
			return nil, err
		}
		o.ChangesFrom = from
	}
	definitions := []string{"stars", "forks", stars, perDay}
	if !slices.Contains(definitions, drawn) {
		definitions = append(definitions, drawn)
	}
	return answer(state, definitions, o), nil
}

// groupsOf reads the groups of an overview and their lines.
func (f *function) groupsOf(ctx context.Context, in *overviewInput, o *Overview, drawn field.Definition) (err error) {
	kind, of, name := hot.Company, hot.Kind(""), ""
	o.Groups = []hot.Group{}
	switch {
	case in.Company != "":
		kind, of, name = hot.Owner, hot.Company, in.Company
	case in.Owner != "":
		kind, of, name = hot.Repository, hot.Owner, in.Owner
	}
	if name != "" {
		total, err := hot.Groups(ctx, f.conn, of, "", name, 4)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(total, func(g hot.Group) bool { return g.Window == in.Window }); i >= 0 {
			o.Total = &total[i]
		}
	}
	if kind != hot.Repository {
		if o.Groups, err = hot.Groups(ctx, f.conn, kind, in.Window, "", 10_000); err != nil {
			return err
		}
	}
	if kind == hot.Owner {
		members, err := hot.Members(ctx, f.conn, hot.Company, name)
		if err != nil {
			return err
		}
		o.Groups = slices.DeleteFunc(o.Groups, func(g hot.Group) bool {
			return !slices.ContainsFunc(members, func(m hot.Member) bool { return m.Owner == g.Name })
		})
		if len(o.Groups) < 2 {
			kind = hot.Repository
		}
	}
	var names []string
	if kind == hot.Repository {
		if names, err = f.largest(ctx, hot.Filter{Company: in.Company, Owner: in.Owner, Current: true}); err != nil {
			return err
		}
	} else {
		largest := slices.SortedStableFunc(slices.Values(o.Groups), func(a, b hot.Group) int { return int(b.Stars - a.Stars) })
		for _, g := range largest[:min(mostLines, len(largest))] {
			names = append(names, g.Name)
		}
	}
	span, err := f.lastDays(ctx, in.Days)
	if err != nil {
		return err
	}
	o.Lines = Lines{kind, span.From.Format(time.DateOnly), []hot.Line{}, []event.Signal{}}
	if len(names) == 0 {
		return nil
	}
	o.Lines.Lines, err = hot.Lines(ctx, f.conn, kind, names, []field.Definition{drawn}, span, mostLines)
	return err
}

// largest are the repositories of a filter with the most stars, by repo_id.
func (f *function) largest(ctx context.Context, filter hot.Filter) (ids []string, err error) {
	stars, _ := hot.Define("stars")
	found, err := hot.Page(ctx, f.conn, filter, hot.Order{By: stars, Down: true}, nil, []field.Definition{stars}, mostLines)
	for _, r := range found.List {
		ids = append(ids, fmt.Sprint(r.RepoID))
	}
	return ids, err
}
