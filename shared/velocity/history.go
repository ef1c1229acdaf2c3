// Package velocity turns a repository's readings into velocities and what else
// follows from its past. It is pure arithmetic: no clock, no store, no network.
package velocity

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Unobserved stands for a value that was not observed. It is never zero.
const Unobserved = math.MinInt64

// Point is what one observation leaves behind in a History.
type Point struct {
	At     int64 // ms since 1970, UTC
	Values [values]int64
}

// PointOf is what an observation leaves behind.
func PointOf(o *repo.Observation) Point {
	p := Point{At: o.ObservedAt.UnixMilli()}
	for v, d := range definitions() {
		p.Values[v] = Unobserved
		if n := d.of(o); n != nil {
			p.Values[v] = *n
		}
	}
	return p
}

// delta is the change of a value since an earlier point, unknown when either
// end is.
func (p *Point) delta(v Value, since *Point) (int64, bool) {
	if since == nil || p.Values[v] == Unobserved || since.Values[v] == Unobserved {
		return 0, false
	}
	return p.Values[v] - since.Values[v], true
}

// differs says whether a value is known at both points and not the same.
func (p *Point) differs(v Value, from *Point) bool {
	d, ok := p.delta(v, from)
	return ok && d != 0
}

// What a History keeps: the last point of each UTC hour for 49 hours and of
// each UTC day for 61 days, counted back from the newest point. That is twice
// the longest window of each kind and one bucket more, so the whole range in
// which a base may lie is covered.
const (
	keepHours = 49
	keepDays  = 61
	hour      = int64(time.Hour / time.Millisecond)
	day       = 24 * hour
)

// Reach is how many UTC days before a point a History looks; of all but the last
// WholeDays of them only the last point of each counts.
const (
	Reach     = keepDays
	WholeDays = (keepHours + 23) / 24
)

// MaxPoints is the most that a History holds.
const MaxPoints = keepHours + keepDays

// History is the thinned past of one repository, oldest point first. Which
// points it holds depends only on which were inserted, not on their order.
type History []Point

// Newest returns the newest point, or nil when there is none.
func (h History) Newest() *Point {
	if len(h) == 0 {
		return nil
	}
	return &h[len(h)-1]
}

// Has says whether there is a point of exactly this time.
func (h History) Has(at int64) bool {
	_, found := h.find(at)
	return found
}

// Insert adds a point and thins. A point of a time already held changes
// nothing: the first reading of a moment is the one that counts.
func (h History) Insert(p Point) History {
	i, found := h.find(p.At)
	if found {
		return h
	}
	if i < len(h) {
		return slices.Insert(h, i, p).thin(0)
	}
	// A newest point makes a rest unnecessary only where the hours are kept no
	// longer, beside it, and at the far end.
	from := 0
	if i > 0 {
		from, _ = h.find((h[i-1].At/hour - keepHours) * hour)
	}
	if len(h) == cap(h) { // many histories are held at once: little is set aside in each
		h = append(make(History, 0, len(h)+8), h...)
	}
	return append(h, p).thin(from)
}

// find is the place of the first point that is not before a time, and whether it
// is of that time. Mostly the newest is asked for.
func (h History) find(at int64) (int, bool) {
	low, high := 0, len(h)
	switch {
	case high == 0 || h[high-1].At < at:
		return high, false
	case h[high-1].At == at:
		return high - 1, true
	}
	for low < high {
		if middle := (low + high) / 2; h[middle].At < at {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(h) && h[low].At == at
}

// thin drops in place what a History does not keep. Of the points before from
// only the oldest can have become too old: they are the last of their days.
func (h History) thin(from int) History {
	newest := h[len(h)-1].At
	old := 0
	for old < from && h[old].At/day <= newest/day-keepDays {
		old++
	}
	kept := h[old:from]
	for i := from; i < len(h); i++ {
		p := &h[i]
		lastOfHour := i == len(h)-1 || h[i+1].At/hour != p.At/hour
		lastOfDay := i == len(h)-1 || h[i+1].At/day != p.At/day
		if lastOfHour && p.At/hour > newest/hour-keepHours || lastOfDay && p.At/day > newest/day-keepDays {
			kept = append(kept, *p)
		}
	}
	return kept
}

// first are the values, by their numbers, that a point of the first version has.
// Of these a packed point says which were not observed, of every later one
// whether it was: so a history that was packed before a value was added holds
// nothing of it, and one of zero is distinct.
const first uint64 = 1<<15 - 1

// Pack appends the history in its stored form: for each point its time, two
// masks of the values that differ from the point before and that were not
// observed, and the differences, all as varints. In a mask, as in the order of
// the differences, a value stands by its number. Counters move little from one
// reading to the next, so a point takes some ten bytes instead of 120.
func (h History) Pack(to []byte) []byte {
	var bit [values]uint64
	var byNumber [64]Value
	for v, d := range definitions() {
		bit[v], byNumber[d.number] = 1<<d.number, Value(v)
	}
	to = binary.AppendUvarint(to, uint64(len(h)))
	var before Point
	var observed uint64
	for i := range h {
		p := &h[i]
		to = binary.AppendVarint(to, p.At-before.At)
		before.At = p.At
		if i > 0 && p.Values == h[i-1].Values { // as most are
			to = append(to, 0)
			to = binary.AppendUvarint(to, observed^first)
			continue
		}
		var differ uint64
		observed = 0
		for v, now := range p.Values {
			if now == Unobserved {
				continue
			}
			observed |= bit[v]
			if now != before.Values[v] {
				differ |= bit[v]
			}
		}
		to = binary.AppendUvarint(to, differ)
		to = binary.AppendUvarint(to, observed^first)
		for ; differ != 0; differ &= differ - 1 {
			v := byNumber[bits.TrailingZeros64(differ)]
			to = binary.AppendVarint(to, p.Values[v]-before.Values[v])
			before.Values[v] = p.Values[v]
		}
	}
	return to
}

var errPacked = errors.New("no packed history")

// Unpack reads what Pack wrote, by this version or another: a value that it does
// not know is passed over.
func Unpack(b []byte) (History, error) {
	n, b, ok := uvarint(b)
	if !ok || n > MaxPoints {
		return nil, errPacked
	}
	var known uint64
	var byNumber [64]Value
	for v, d := range definitions() {
		known |= 1 << d.number
		byNumber[d.number] = Value(v)
	}
	h := make(History, n, n+1) // mostly one is inserted next
	var before Point
	for i := range h {
		p := &h[i]
		var since int64
		var differ, mask uint64
		var okAt, okDiffer, okMask bool
		since, b, okAt = varint(b)
		differ, b, okDiffer = uvarint(b)
		mask, b, okMask = uvarint(b)
		if !okAt || !okDiffer || !okMask || i > 0 && before.At+since <= before.At {
			return nil, errPacked
		}
		before.At += since
		for ; differ != 0; differ &= differ - 1 {
			var d int64
			if d, b, ok = varint(b); !ok {
				return nil, errPacked
			}
			if bit := bits.TrailingZeros64(differ); known>>bit&1 == 1 {
				before.Values[byNumber[bit]] += d
			}
		}
		*p = before
		for unobserved := known &^ (mask ^ first); unobserved != 0; unobserved &= unobserved - 1 {
			p.Values[byNumber[bits.TrailingZeros64(unobserved)]] = Unobserved
		}
	}
	if len(b) > 0 {
		return nil, errPacked
	}
	return h, nil
}

func varint(b []byte) (int64, []byte, bool) {
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, b, false
	}
	return v, b[n:], true
}

func uvarint(b []byte) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, b, false
	}
	return v, b[n:], true
}
