package velocity

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

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
