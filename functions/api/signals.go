package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// SignalKind is a kind of signals.
type SignalKind string

// Schema implements huma.SchemaProvider.
func (SignalKind) Schema(huma.Registry) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString, Description: "A kind of signals: docs/signals.md defines it."}
	for _, k := range signal.Kinds() {
		s.Enum = append(s.Enum, k.Kind)
	}
	return s
}

type signalsInput struct {
	Scoped
	Kind     []SignalKind `query:"kind" maxItems:"50" doc:"Those of these kinds, separated by commas; all unless given."`
	Severity string       `query:"severity" enum:"info,notice,warning,critical" doc:"Those of this severity or a higher one."`
	From     string       `query:"from" format:"date" doc:"The first UTC day."`
	To       string       `query:"to" format:"date" doc:"The last UTC day."`
	Limit    int          `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor   string       `query:"cursor" maxLength:"65536" doc:"next of the page before. All else must stay as it was."`
}

// choice is what the parameters choose.
func (in *signalsInput) choice(scope hot.Scope) (hot.SignalChoice, error) {
	of := hot.SignalChoice{Scope: scope, Least: in.Severity}
	for _, k := range in.Kind {
		of.Kinds = append(of.Kinds, string(k))
	}
	for _, day := range []struct {
		name, text string
		at         *time.Time
		days       int
	}{{"from", in.From, &of.From, 0}, {"to", in.To, &of.To, 1}} {
		if day.text == "" {
			continue
		}
		at, err := time.Parse(time.DateOnly, day.text)
		if err != nil {
			return of, invalid("query."+day.name, "want a day, YYYY-MM-DD", day.text)
		}
		*day.at = at.AddDate(0, 0, day.days)
	}
	return of, nil
}

// signals are what was reported.
func (f *function) signals(api huma.API) {
	get(f, api, huma.Operation{
		OperationID: "list-signals", Path: v1 + "/signals", Tags: []string{"Signals"}, Errors: []int{http.StatusNotFound},
		Summary:     "What happened out of the usual, newest first",
		Description: "Breakouts, releases, transfers, failed sweeps and the like, of one repository, an owner, a company or all. What each kind means is docs/signals.md.",
	}, func(ctx context.Context, in *signalsInput) (*Answer[[]event.Signal], error) {
		of := strings.Join([]string{in.Repository, in.Owner, in.Company, in.Severity, in.From, in.To}, " ")
		for _, k := range in.Kind {
			of += " " + string(k)
		}
		after, err := decodeCursor[hot.SignalMark](in.Cursor, of)
		if err != nil {
			return nil, err
		}
		scope, state, err := f.scope(ctx, &in.Scope)
		if err != nil {
			return nil, err
		}
		chosen, err := in.choice(scope)
		if err != nil {
			return nil, err
		}
		found, err := hot.Signals(ctx, f.conn, chosen, after, in.Limit+1)
		if err != nil {
			return nil, err
		}
		a := answer(state, []string{}, found)
		if len(found) > in.Limit {
			a.Data = found[:in.Limit]
			last := a.Data[in.Limit-1]
			a.Next, err = encodeCursor(of, hot.SignalMark{ObservedAt: last.ObservedAt, ID: last.ID})
		}
		return a, err
	})
}
