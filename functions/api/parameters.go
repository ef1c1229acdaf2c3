package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// Repository is a repository in OpenAPI: its fields are those of the field table.
type Repository struct{ hot.Record }

// Schema implements huma.SchemaProvider.
func (Repository) Schema(r huma.Registry) *huma.Schema { return recordSchema() }

// Repositories are several.
type Repositories struct{ hot.Records }

// Schema implements huma.SchemaProvider.
func (Repositories) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: recordSchema()}
}

func recordSchema() *huma.Schema {
	s := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"is_current", "is_former", "label"},
		Properties: map[string]*huma.Schema{
			"label":      {Type: huma.TypeString, Description: "owner/name, with the repo_id if another repository has that name now."},
			"is_former":  {Type: huma.TypeBoolean, Description: "Another repository has its name now."},
			"is_current": {Type: huma.TypeBoolean, Description: "It was read in the three days before the newest reading of all. One that is not was deleted, made private or moved, or its owner is no longer swept."},
		},
	}
	for _, d := range hot.Definitions() {
		p := &huma.Schema{Nullable: d.Null, Description: d.Text}
		switch d.Kind {
		case field.Int:
			p.Type, p.Format = huma.TypeInteger, "int64"
		case field.Float:
			p.Type, p.Format = huma.TypeNumber, "double"
		case field.Bool:
			p.Type = huma.TypeBoolean
		case field.Time:
			p.Type, p.Format = huma.TypeString, "date-time"
		case field.Text:
			p.Type = huma.TypeString
		case field.Texts:
			p.Type, p.Items = huma.TypeArray, &huma.Schema{Type: huma.TypeString}
		case field.Languages:
			p.Type, p.Items = huma.TypeArray, &huma.Schema{Type: huma.TypeObject, Required: []string{"name", "bytes"}, Properties: map[string]*huma.Schema{
				"name": {Type: huma.TypeString}, "bytes": {Type: huma.TypeInteger, Format: "int64"},
			}}
		}
		s.Properties[d.Name] = p
	}
	return s
}

// enumOf is a text that is one of the names of some definitions.
func enumOf(definitions []field.Definition, also func(string) []any) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, d := range definitions {
		s.Enum = append(s.Enum, also(d.Name)...)
	}
	return s
}

func itself(name string) []any { return []any{name} }

func definitionsWhere(keep func(field.Definition) bool) (out []field.Definition) {
	for _, d := range hot.Definitions() {
		if keep(d) {
			out = append(out, d)
		}
	}
	return out
}

// Sort is a field to sort by, with - before it from the greatest down.
type Sort string

// Schema implements huma.SchemaProvider.
func (Sort) Schema(huma.Registry) *huma.Schema {
	s := enumOf(definitionsWhere(hot.Sortable), func(name string) []any { return []any{name, "-" + name} })
	s.Description = "A field, with - before it from the greatest down. Repositories without a known value come last, equal ones by repo_id."
	s.Default = "-stars"
	return s
}

func (s Sort) order() hot.Order {
	name, down := strings.CutPrefix(string(s), "-")
	d, _ := hot.Define(name) // the schema lets only those pass that are defined
	return hot.Order{By: d, Down: down}
}

// FieldName is a field of the field table.
type FieldName string

// Schema implements huma.SchemaProvider.
func (FieldName) Schema(huma.Registry) *huma.Schema { return enumOf(hot.Definitions(), itself) }

// Counter is a field that makes a line: a number that the time series holds.
type Counter string

// Schema implements huma.SchemaProvider.
func (Counter) Schema(huma.Registry) *huma.Schema {
	s := enumOf(definitionsWhere(hot.Plottable), itself)
	s.Description = "A field that is a number. A counter with a window is its rate: stars and 7d are stars_per_day_7d."
	s.Default = "stars"
	return s
}

// SummedCounter is a field that can be summed over a group.
type SummedCounter string

// Schema implements huma.SchemaProvider.
func (SummedCounter) Schema(huma.Registry) *huma.Schema {
	s := enumOf(hot.Summed(), itself)
	s.Description = "A field that is kept by day. A counter with a window is its rate: stars and 7d are stars_per_day_7d."
	s.Default = "stars"
	return s
}

// plotted is the field of a counter over a window.
func plotted(counter, window string, among []field.Definition) (field.Definition, error) {
	d, ok := hot.Field(counter, window)
	if ok {
		for _, a := range among {
			if a.Name == d.Name {
				return d, nil
			}
		}
	}
	counters := velocity.Counters()
	return d, invalid("query.window", fmt.Sprintf("there is no rate of %s over it here: leave it out, or ask for one of %s", counter, strings.Join(counters[:], ", ")), window)
}

// Days is a span of days.
type Days struct {
	From string `query:"from" format:"date" doc:"The first day; 90 days before the last unless given."`
	To   string `query:"to" format:"date" doc:"The last day; that of the newest reading of all unless given."`
}

// most days of a series, and of one by the hour.
const (
	maxDays   = 3660
	maxHours  = 400 * 24
	usualDays = 90
)

// span reads the days, newest being the newest reading of all.
func (d Days) span(newest time.Time, zone *time.Location, hourly bool) (hot.Span, error) {
	midnight := func(t time.Time) time.Time {
		y, m, day := t.In(zone).Date()
		return time.Date(y, m, day, 0, 0, 0, 0, zone)
	}
	s := hot.Span{To: midnight(newest), Zone: zone, Hourly: hourly}
	var err error
	if d.To != "" {
		if s.To, err = time.ParseInLocation(time.DateOnly, d.To, zone); err != nil {
			return s, invalid("query.to", "want a day, YYYY-MM-DD", d.To)
		}
	}
	s.From = s.To.AddDate(0, 0, 1-usualDays)
	if d.From != "" {
		if s.From, err = time.ParseInLocation(time.DateOnly, d.From, zone); err != nil {
			return s, invalid("query.from", "want a day, YYYY-MM-DD", d.From)
		}
	}
	days := int(s.To.Sub(s.From).Hours()/24) + 1
	switch {
	case s.To.Before(s.From):
		return s, invalid("query.from", "is after the last day", d.From)
	case days > maxDays, hourly && days*24 > maxHours:
		return s, invalid("query.from", fmt.Sprintf("too many points: want %d days at most, or %d by the hour", maxDays, maxHours/24), d.From)
	}
	return s, nil
}

// zoneOf loads a time zone.
func zoneOf(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, invalid("query.tz", "want a name of the tz database, such as Europe/Berlin", name)
	}
	return zone, nil
}

// A cursor says where a page ended, and which query it belongs to, in base64 of JSON. It is
// checked like any parameter: nothing is trusted in it.
type cursor[M any] struct {
	Of   string `json:"of"`
	Mark M      `json:"mark"`
}

// maxCursor bounds a cursor: a text that is sorted by may be 16 KiB.
const maxCursor = 64 << 10

func encodeCursor[M any](of string, mark M) (*string, error) {
	b, err := json.Marshal(cursor[M]{of, mark})
	if err != nil {
		return nil, fmt.Errorf("write a cursor: %w", err)
	}
	return new(base64.RawURLEncoding.EncodeToString(b)), nil
}

// decodeCursor reads the cursor of a question, nil if there is none.
func decodeCursor[M any](text, of string) (*M, error) {
	if text == "" {
		return nil, nil
	}
	var c cursor[M]
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || len(text) > maxCursor {
		return nil, invalid("query.cursor", "is none that was given out here", "")
	}
	if c.Of != of {
		return nil, invalid("query.cursor", "belongs to another question: filters and order must stay as they were", "")
	}
	return &c.Mark, nil
}
