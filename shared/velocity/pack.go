package velocity

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// Pack appends the history in its stored form: for each point its time, two
// masks of the values that differ from the point before and that were not
// observed, and the differences, all as varints. Counters move little from one
// reading to the next, so a point takes some ten bytes instead of 120.
func (h History) Pack(to []byte) []byte {
	to = binary.AppendUvarint(to, uint64(len(h)))
	var before Point
	var unobserved uint64
	for i := range h {
		p := &h[i]
		to = binary.AppendVarint(to, p.At-before.At)
		before.At = p.At
		if i > 0 && p.Values == h[i-1].Values { // as most are
			to = append(to, 0)
			to = binary.AppendUvarint(to, unobserved)
			continue
		}
		var differ uint64
		unobserved = 0
		for v, now := range p.Values {
			switch {
			case now == Unobserved:
				unobserved |= 1 << v
			case now != before.Values[v]:
				differ |= 1 << v
			}
		}
		to = binary.AppendUvarint(to, differ)
		to = binary.AppendUvarint(to, unobserved)
		for ; differ != 0; differ &= differ - 1 {
			v := bits.TrailingZeros64(differ)
			to = binary.AppendVarint(to, p.Values[v]-before.Values[v])
			before.Values[v] = p.Values[v]
		}
	}
	return to
}

var errPacked = errors.New("no packed history")

// Unpack reads what Pack wrote.
func Unpack(b []byte) (History, error) {
	n, b, ok := uvarint(b)
	if !ok || n > MaxPoints {
		return nil, errPacked
	}
	h := make(History, n, n+1) // mostly one is inserted next
	var before Point
	for i := range h {
		p := &h[i]
		var since int64
		var differ, unobserved uint64
		var okAt, okDiffer, okUnobserved bool
		since, b, okAt = varint(b)
		differ, b, okDiffer = uvarint(b)
		unobserved, b, okUnobserved = uvarint(b)
		if !okAt || !okDiffer || !okUnobserved {
			return nil, errPacked
		}
		if differ>>values != 0 || unobserved>>values != 0 || i > 0 && before.At+since <= before.At {
			return nil, errPacked
		}
		before.At += since
		for ; differ != 0; differ &= differ - 1 {
			var d int64
			if d, b, ok = varint(b); !ok {
				return nil, errPacked
			}
			before.Values[bits.TrailingZeros64(differ)] += d
		}
		*p = before
		for ; unobserved != 0; unobserved &= unobserved - 1 {
			p.Values[bits.TrailingZeros64(unobserved)] = Unobserved
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
