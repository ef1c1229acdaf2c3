package account

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/signal"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// Column is one column that a checksum covers.
type Column struct {
	Name string
	Kind field.Kind
}

// Sums are the checksums of one row, each over the values of its columns, in their
// order, as Line computes it. Sums of checksums modulo 2⁶⁴ do
// not depend on the order of the rows. Together they cover every column.
type Sums struct {
	Observed uint64 // over ObservedColumns: what every store keeps of a reading
	Details  uint64 // over DetailColumns: what ClickHouse keeps in its state table only; 0 of its time series
	Velocity uint64 // over VelocityColumns; 0 of a row that was not processed
}

// ObservedColumns are those of an observation that every store keeps.
func ObservedColumns() []Column {
	return columns(field.Definitions(observed()))
}

// DetailColumns are the others of an observation, and its key.
func DetailColumns() []Column {
	return columns(field.Definitions(details()))
}

// VelocityColumns are those that a processed observation has besides, and its key.
func VelocityColumns() []Column {
	definitions := velocity.Definitions()
	return slices.Concat(columns(field.Definitions(key())), columns(field.Definitions(event.StatementFields())), columns(definitions[:]))
}

// SignalColumns are those of a signal.
func SignalColumns() []Column { return columns(field.Definitions(signal.Fields())) }

// EventColumns are those of an event of a feed.
func EventColumns() []Column { return columns(field.Definitions(feed.Fields())) }

func columns(of []field.Definition) []Column {
	out := make([]Column, len(of))
	for i, d := range of {
		out[i] = Column{d.Name, d.Kind}
	}
	return out
}

type observedField = field.Field[event.RepoObserved]

func observed() []observedField {
	return slices.DeleteFunc(repo.Fields(), func(f observedField) bool { return f.Detail })
}

func details() []observedField {
	return append(key(), slices.DeleteFunc(repo.Fields(), func(f observedField) bool { return !f.Detail })...)
}

func key() []observedField {
	return slices.DeleteFunc(repo.Fields(), func(f observedField) bool { return f.Name != "repo_id" && f.Name != "observed_at" })
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

// Summer computes the checksums of rows. It is safe for use by several goroutines.
type Summer struct {
	observed, details, key []adder[event.RepoObserved]
	statement              []adder[event.RepoProcessed]
	happened               []adder[event.GitHubEvent]
	raised                 []adder[event.Signal]
	kinds                  []field.Kind // of the velocities
}

// adder adds a field of a row.
type adder[R any] func(Line, *R) Line

// NewSummer returns a Summer.
func NewSummer() *Summer {
	s := &Summer{observed: adders(observed()), details: adders(details()), key: adders(key()), statement: adders(event.StatementFields()), happened: adders(feed.Fields()), raised: adders(signal.Fields())}
	for _, d := range velocity.Definitions() {
		s.kinds = append(s.kinds, d.Kind)
	}
	return s
}

func adders[R any](fields []field.Field[R]) []adder[R] {
	out := make([]adder[R], len(fields))
	for i, f := range fields {
		switch at := f.At.(type) {
		case func(*R) *int64:
			out[i] = func(l Line, r *R) Line { return l.Int(*at(r)) }
		case func(*R) **int64:
			out[i] = maybe(at, Line.Int)
		case func(*R) **float64:
			out[i] = maybe(at, Line.Real)
		case func(*R) *bool:
			out[i] = func(l Line, r *R) Line { return l.Flag(*at(r)) }
		case func(*R) **bool:
			out[i] = maybe(at, Line.Flag)
		case func(*R) *time.Time:
			out[i] = func(l Line, r *R) Line { return l.Int(at(r).UnixMilli()) }
		case func(*R) **time.Time:
			out[i] = maybe(at, func(l Line, t time.Time) Line { return l.Int(t.UnixMilli()) })
		case func(*R) *string:
			out[i] = func(l Line, r *R) Line { return l.Text(*at(r)) }
		case func(*R) **string:
			out[i] = maybe(at, Line.Text)
		case func(*R) *[]string:
			out[i] = func(l Line, r *R) Line {
				l = l.List(len(*at(r)))
				for _, text := range *at(r) {
					l = l.Entry(text)
				}
				return l
			}
		case func(*R) *[]event.Language:
			out[i] = func(l Line, r *R) Line {
				l = l.List(len(*at(r)))
				for _, language := range *at(r) {
					l = l.Entry(language.Name).EntryInt(language.Bytes)
				}
				return l
			}
		}
	}
	return out
}

func maybe[R, V any](at func(*R) **V, add func(Line, V) Line) adder[R] {
	return func(l Line, r *R) Line {
		if v := *at(r); v != nil {
			return add(l, *v)
		}
		return l.Null()
	}
}

func sum[R any](l Line, of []adder[R], r *R) Line {
	for _, add := range of {
		l = add(l, r)
	}
	return l
}

// Observed returns the checksums of an observation.
func (s *Summer) Observed(o *event.RepoObserved) Sums {
	return Sums{Observed: sum(Line{}, s.observed, o).Sum(), Details: sum(Line{}, s.details, o).Sum()}
}

// Processed returns the checksums of a processed observation.
func (s *Summer) Processed(p *event.RepoProcessed) Sums {
	sums := s.Observed(&p.Observation)
	l := sum(sum(Line{}, s.key, &p.Observation), s.statement, p)
	for i, kind := range s.kinds {
		f := velocity.Field(i)
		switch {
		case !p.Has(f):
			l = l.Null()
		case kind == field.Float:
			l = l.Real(*p.Float(f))
		case kind == field.Bool:
			l = l.Flag(*p.Bool(f))
		default:
			l = l.Int(*p.Int(f))
		}
	}
	sums.Velocity = l.Sum()
	return sums
}

// Event returns the checksum of an event of a feed, and the key that it is counted
// under: a hash of its type and id in place of a repository, and when it happened.
func (s *Summer) Event(e *event.GitHubEvent) (repo.Key, Sums) {
	k := e.Key()
	id := Line{}.Text(k.Type).Int(k.ID).Sum()
	return repo.Key{ID: int64(id), ObservedAt: k.CreatedAt}, Sums{Observed: sum(Line{}, s.happened, e).Sum()}
}

// Signal returns the checksum of a signal, and the key that it is counted under: a hash
// of its id, and when its evidence was observed.
func (s *Summer) Signal(g *event.Signal) (repo.Key, Sums) {
	id := Line{}.Text(g.ID).Sum()
	return repo.Key{ID: int64(id), ObservedAt: g.ObservedAt.UnixMilli()}, Sums{Observed: sum(Line{}, s.raised, g).Sum()}
}

// SQL is a ClickHouse expression for the checksum over some columns, none of them a
// list. Its arguments are numbers, not texts put together, because ClickHouse hashes a
// column of numbers several times faster than it builds a text of each row.
func SQL(cols []Column) string {
	arguments := make([]string, len(cols))
	for i, c := range cols {
		value := c.Name
		switch c.Kind {
		case field.Text:
			value = "xxHash64(" + value + ")"
		case field.Time:
			value = "toUnixTimestamp64Milli(" + value + ")"
		case field.Bool:
			value = "toInt64(" + value + ")"
		}
		arguments[i] = fmt.Sprintf("isNull(%s), ifNull(%s, 0)", c.Name, value)
	}
	return "xxHash64(" + strings.Join(arguments, ", ") + ")"
}
