package audit

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// Kind is what a column of a checksum holds.
type Kind int

// The kinds of columns.
const (
	Number    Kind = iota // int64
	Real                  // float64
	Flag                  // bool
	Moment                // a time of millisecond precision
	Text                  // UTF-8
	Texts                 // a list of texts
	Languages             // a list of names and numbers
)

// Column is one column that a checksum covers.
type Column struct {
	Name string
	Kind Kind
}

// Sums are the checksums of one row. Each is the xxHash64 of the values of its
// columns, in their order, in the form of Line. Sums of checksums modulo 2⁶⁴ do
// not depend on the order of the rows. Together they cover every column.
type Sums struct {
	Observed uint64 // over ObservedColumns: what every store keeps of a reading
	Details  uint64 // over DetailColumns: what ClickHouse keeps in its state table only; 0 of its time series
	Velocity uint64 // over VelocityColumns; 0 of a row that was not processed
}

// ObservedColumns are those of an observation that every store keeps.
func ObservedColumns() []Column {
	cols := []Column{
		{"repo_id", Number}, {"observed_at", Moment}, {"name_with_owner", Text}, {"owner", Text}, {"owner_type", Text},
		{"company", Text}, {"primary_language", Text}, {"is_fork", Flag}, {"is_archived", Flag}, {"created_at", Moment},
		{"pushed_at", Moment}, {"latest_release", Text}, {"latest_release_at", Moment}, {"sweep_id", Text}, {"source", Text},
	}
	var o event.RepoObserved
	for _, c := range o.Counters() {
		cols = append(cols, Column{c.Name, Number})
	}
	return cols
}

// DetailColumns are the others of an observation, and its key.
func DetailColumns() []Column {
	return []Column{
		{"repo_id", Number}, {"observed_at", Moment}, {"node_id", Text}, {"name", Text}, {"description", Text}, {"languages", Languages},
		{"topics", Texts}, {"license", Text}, {"default_branch", Text}, {"updated_at", Moment},
	}
}

// VelocityColumns are those that a processed observation has besides, and its key.
func VelocityColumns() []Column {
	cols := []Column{{"repo_id", Number}, {"observed_at", Moment}, {"processed_at", Moment}, {"revision", Number}, {"late", Flag}}
	kinds := map[velocity.Kind]Kind{velocity.Count: Number, velocity.Rate: Real, velocity.Moment: Moment, velocity.Flag: Flag}
	for i, d := range velocity.Definitions() {
		cols = append(cols, Column{d.Name, kinds[velocity.Field(i).Kind()]})
	}
	return cols
}

// Line is the values of one row, in a form in which no two rows are alike: a null
// is a zero byte, any other value a byte 1 and what it is. That is eight bytes,
// the least significant first, for a number, the bits of a real, a flag (0 or 1),
// or a time in ms since 1970; the length in bytes, as a number, and the text; the
// length of a list, as a number, and its entries without the byte 1.
type Line []byte

// Null appends a null.
func (l Line) Null() Line { return append(l, 0) }

// Int appends a number.
func (l Line) Int(v int64) Line { return binary.LittleEndian.AppendUint64(append(l, 1), uint64(v)) }

// Real appends a real.
func (l Line) Real(v float64) Line { return l.Int(int64(math.Float64bits(v))) }

// Flag appends a flag.
func (l Line) Flag(v bool) Line {
	if v {
		return l.Int(1)
	}
	return l.Int(0)
}

// Text appends a text.
func (l Line) Text(v string) Line { return l.Int(int64(len(v))).bytes(v) }

// List appends the length of a list. Its entries follow.
func (l Line) List(entries int) Line { return l.Int(int64(entries)) }

// Entry appends a text in a list.
func (l Line) Entry(v string) Line { return l.EntryInt(int64(len(v))).bytes(v) }

// EntryInt appends a number in a list.
func (l Line) EntryInt(v int64) Line { return binary.LittleEndian.AppendUint64(l, uint64(v)) }

func (l Line) bytes(v string) Line { return append(l, v...) }

// Sum is the checksum of the row.
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

// SumsOf returns the checksums of an observation.
func SumsOf(o *event.RepoObserved) Sums {
	var memory [1024]byte
	l := Line(memory[:0]).Int(o.ID).Int(o.ObservedAt.UnixMilli()).Text(o.NameWithOwner).Text(o.Owner).Text(o.OwnerType).
		maybeText(o.Company).maybeText(o.PrimaryLanguage).Flag(o.IsFork).Flag(o.IsArchived).maybeTime(o.CreatedAt).
		maybeTime(o.PushedAt).maybeText(o.LatestRelease).maybeTime(o.LatestReleaseAt).Text(o.SweepID).Text(o.Source)
	for _, c := range o.Counters() {
		l = l.maybeInt(c.Value)
	}
	sums := Sums{Observed: l.Sum()}
	l = l[:0].Int(o.ID).Int(o.ObservedAt.UnixMilli()).Text(o.NodeID).Text(o.Name).maybeText(o.Description).List(len(o.Languages))
	for _, language := range o.Languages {
		l = l.Entry(language.Name).EntryInt(language.Bytes)
	}
	l = l.List(len(o.Topics))
	for _, topic := range o.Topics {
		l = l.Entry(topic)
	}
	sums.Details = l.maybeText(o.License).maybeText(o.DefaultBranch).maybeTime(o.UpdatedAt).Sum()
	return sums
}

// SumsOfProcessed returns the checksums of a processed observation.
func SumsOfProcessed(p *event.RepoProcessed) Sums {
	sums := SumsOf(&p.Observation)
	var memory [2048]byte
	l := Line(memory[:0]).Int(p.ID).Int(p.ObservedAt.UnixMilli()).Int(p.ProcessedAt.UnixMilli()).Int(p.Revision).Flag(p.Late)
	for f := range velocity.Field(velocity.Fields) {
		switch {
		case !p.Has(f):
			l = l.Null()
		case f.Kind() == velocity.Rate:
			l = l.Real(*p.Float(f))
		case f.Kind() == velocity.Flag:
			l = l.Flag(*p.Bool(f))
		default:
			l = l.Int(*p.Int(f))
		}
	}
	sums.Velocity = l.Sum()
	return sums
}

// SQL is a ClickHouse expression for the checksum over some columns, of which none
// is a list.
func SQL(cols []Column) string {
	values := make([]string, len(cols))
	for i, c := range cols {
		value := "assumeNotNull(" + c.Name + ")"
		switch c.Kind {
		case Text:
			value = "reinterpretAsFixedString(length(" + value + ")), " + value
		case Moment:
			value = "reinterpretAsFixedString(toUnixTimestamp64Milli(" + value + "))"
		case Flag:
			value = "reinterpretAsFixedString(toInt64(" + value + "))"
		default:
			value = "reinterpretAsFixedString(" + value + ")"
		}
		values[i] = fmt.Sprintf(`if(isNull(%s), '\0', concat('\x01', %s))`, c.Name, value)
	}
	return "xxHash64(concat(" + strings.Join(values, ", ") + "))"
}
