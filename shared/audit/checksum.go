package audit

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// Kind is how a column stands in a checksum's text.
type Kind int

// The kinds of columns.
const (
	Number Kind = iota // decimal
	Text               // as it is
	Moment             // ms since 1970, decimal
)

// Column is one column that a checksum covers.
type Column struct {
	Name string
	Kind Kind
}

// ObservedColumns are those that the checksum of an observation covers, in its
// order: identity and every counter. Each store builds the same text from its
// own columns: values separated by '|', a null as '-'. The checksum is the
// xxHash64 of that text; sums of checksums modulo 2⁶⁴ do not depend on order.
func ObservedColumns() []Column {
	cols := []Column{
		{"repo_id", Number}, {"observed_at", Moment}, {"name_with_owner", Text}, {"company", Text},
		{"primary_language", Text}, {"pushed_at", Moment}, {"created_at", Moment}, {"source", Text},
	}
	var o event.RepoObserved
	for _, c := range o.Counters() {
		cols = append(cols, Column{c.Name, Number})
	}
	return cols
}

// VelocityColumns are those that the checksum of a processed observation covers
// besides. Rates are left out: they follow from these, and floating point has
// no text that every store agrees on. So are flags, which follow from both.
func VelocityColumns() []Column {
	cols := []Column{{"repo_id", Number}, {"observed_at", Moment}}
	for _, f := range velocityFields() {
		kind := Number
		if f.Kind() == velocity.Moment {
			kind = Moment
		}
		cols = append(cols, Column{velocity.Definitions()[f].Name, kind})
	}
	return cols
}

// velocityFields are the whole numbers among the velocities.
func velocityFields() []velocity.Field {
	var out []velocity.Field
	for i := range velocity.Definitions() {
		if f := velocity.Field(i); f.Kind() == velocity.Count || f.Kind() == velocity.Moment {
			out = append(out, f)
		}
	}
	return out
}

// Line is the text of one row being built.
type Line []byte

// Null appends a null.
func (l Line) Null() Line { return append(l, '-', '|') }

// Int appends a number.
func (l Line) Int(v int64) Line { return append(strconv.AppendInt(l, v, 10), '|') }

// Text appends a text.
func (l Line) Text(v string) Line { return append(append(l, v...), '|') }

// Sum is the checksum of the text.
func (l Line) Sum() uint64 { return xxhash.Sum64(l) }

func (l Line) maybeInt(v *int64) Line {
	if v == nil {
		return l.Null()
	}
	return l.Int(*v)
}

func (l Line) maybeText(v *string) Line {
	if v == nil {
		return l.Null()
	}
	return l.Text(*v)
}

func (l Line) maybeTime(v *time.Time) Line {
	if v == nil {
		return l.Null()
	}
	return l.Int(v.UnixMilli())
}

// Observed is the checksum of an observation over ObservedColumns.
func Observed(o *event.RepoObserved) uint64 {
	l := make(Line, 0, 256).Int(o.ID).Int(o.ObservedAt.UnixMilli()).Text(o.NameWithOwner).maybeText(o.Company).
		maybeText(o.PrimaryLanguage).maybeTime(o.PushedAt).maybeTime(o.CreatedAt).Text(o.Source)
	for _, c := range o.Counters() {
		l = l.maybeInt(c.Value)
	}
	return l.Sum()
}

// Velocity is the checksum of a processed observation over VelocityColumns.
func Velocity(p *event.RepoProcessed) uint64 {
	l := make(Line, 0, 512).Int(p.ID).Int(p.ObservedAt.UnixMilli())
	for _, f := range velocityFields() {
		l = l.maybeInt(p.Int(f))
	}
	return l.Sum()
}

// SQL is a ClickHouse expression for the checksum over some columns.
func SQL(cols []Column) string {
	var b strings.Builder
	b.WriteString("xxHash64(concat(")
	for i, c := range cols {
		if i > 0 {
			b.WriteString(", ")
		}
		value := c.Name
		if c.Kind == Moment {
			value = "toUnixTimestamp64Milli(" + c.Name + ")"
		}
		fmt.Fprintf(&b, "ifNull(toString(%s), '-'), '|'", value)
	}
	b.WriteString("))")
	return b.String()
}
