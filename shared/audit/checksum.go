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

// Sums are the checksums of one row, each over the values of its columns, in their
// order, as Line computes it. Sums of checksums modulo 2⁶⁴ do
// not depend on the order of the rows. Together they cover every column but
// processed_at.
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

// VelocityColumns are those that a processed observation has besides, and its key,
// but for processed_at: of an observation that was computed twice, as around a
// crash, each store keeps the copy that it saw first, and copies may differ in when
// they were made.
func VelocityColumns() []Column {
	cols := []Column{{"repo_id", Number}, {"observed_at", Moment}, {"revision", Number}, {"late", Flag}}
	kinds := map[velocity.Kind]Kind{velocity.Count: Number, velocity.Rate: Real, velocity.Moment: Moment, velocity.Flag: Flag}
	for i, d := range velocity.Definitions() {
		cols = append(cols, Column{d.Name, kinds[velocity.Field(i).Kind()]})
	}
	return cols
}

// Line is the checksum of a row being computed, in the way of ClickHouse's xxHash64
// of several arguments: the xxHash64 of each, combined one after the other. Each value
// is two arguments: one byte, which is 1 for a null, and eight bytes, the least
// significant first. Those are 0 for a null, else a number, the bits of a real, a flag
// (0 or 1), a time in ms since 1970, the xxHash64 of a text, or the length of a list,
// whose entries follow, eight bytes each. The zero value is a row without values.
type Line struct {
	sum   uint64
	begun bool
}

// The xxHash64 of one byte.
const (
	hashOfByte0 uint64 = 0xe934a84adb052768
	hashOfByte1 uint64 = 0x8a4127811b21e730
)

// Null adds a null.
func (l Line) Null() Line { return l.argument(hashOfByte1).EntryInt(0) }

// Int adds a number.
func (l Line) Int(v int64) Line { return l.argument(hashOfByte0).EntryInt(v) }

// Real adds a real.
func (l Line) Real(v float64) Line { return l.Int(int64(math.Float64bits(v))) }

// Flag adds a flag.
func (l Line) Flag(v bool) Line {
	if v {
		return l.Int(1)
	}
	return l.Int(0)
}

// Text adds a text.
func (l Line) Text(v string) Line { return l.Int(int64(xxhash.Sum64String(v))) }

// List adds the length of a list. Its entries follow.
func (l Line) List(entries int) Line { return l.Int(int64(entries)) }

// Entry adds a text in a list.
func (l Line) Entry(v string) Line { return l.EntryInt(int64(xxhash.Sum64String(v))) }

// EntryInt adds a number in a list.
func (l Line) EntryInt(v int64) Line {
	var bytes [8]byte
	binary.LittleEndian.PutUint64(bytes[:], uint64(v))
	return l.argument(xxhash.Sum64(bytes[:]))
}

// argument adds the hash of an argument, by CityHash's Hash128to64, which is what
// ClickHouse combines hashes with.
func (l Line) argument(hash uint64) Line {
	if !l.begun {
		return Line{sum: hash, begun: true}
	}
	const multiplier = 0x9ddfea08eb382d69
	a := (l.sum ^ hash) * multiplier
	a ^= a >> 47
	b := (hash ^ a) * multiplier
	b ^= b >> 47
	return Line{sum: b * multiplier, begun: true}
}

// Sum is the checksum of the row.
func (l Line) Sum() uint64 { return l.sum }

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
	l := Line{}.Int(o.ID).Int(o.ObservedAt.UnixMilli()).Text(o.NameWithOwner).Text(o.Owner).Text(o.OwnerType).
		maybeText(o.Company).maybeText(o.PrimaryLanguage).Flag(o.IsFork).Flag(o.IsArchived).maybeTime(o.CreatedAt).
		maybeTime(o.PushedAt).maybeText(o.LatestRelease).maybeTime(o.LatestReleaseAt).Text(o.SweepID).Text(o.Source)
	for _, c := range o.Counters() {
		l = l.maybeInt(c.Value)
	}
	sums := Sums{Observed: l.Sum()}
	l = Line{}.Int(o.ID).Int(o.ObservedAt.UnixMilli()).Text(o.NodeID).Text(o.Name).maybeText(o.Description).List(len(o.Languages))
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
	l := Line{}.Int(p.ID).Int(p.ObservedAt.UnixMilli()).Int(p.Revision).Flag(p.Late)
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

// SQL is a ClickHouse expression for the checksum over some columns, none of them a
// list. Its arguments are numbers, not texts put together, because ClickHouse hashes a
// column of numbers several times faster than it builds a text of each row.
func SQL(cols []Column) string {
	arguments := make([]string, len(cols))
	for i, c := range cols {
		value := c.Name
		switch c.Kind {
		case Text:
			value = "xxHash64(" + value + ")"
		case Moment:
			value = "toUnixTimestamp64Milli(" + value + ")"
		case Flag:
			value = "toInt64(" + value + ")"
		}
		arguments[i] = fmt.Sprintf("isNull(%s), ifNull(%s, 0)", c.Name, value)
	}
	return "xxHash64(" + strings.Join(arguments, ", ") + ")"
}
