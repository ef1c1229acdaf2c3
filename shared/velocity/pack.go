package velocity

import (
	"encoding/binary"
	"errors"
)

// Pack appends the history in its stored form: for each point its time, two
// masks of the values that differ from the point before and that were not
// observed, and the differences, all as varints. Counters move little from one
// reading to the next, so a point takes some ten bytes instead of 120.
func (h History) Pack(to []byte) []byte {
	to = binary.AppendUvarint(to, uint64(len(h)))
	var before Point
	for i := range h {
		p := &h[i]
		to = binary.AppendVarint(to, p.At-before.At)
		var differ, unobserved uint64
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
		for v, now := range p.Values {
			if differ&(1<<v) != 0 {
				to = binary.AppendVarint(to, now-before.Values[v])
			}
			if unobserved&(1<<v) == 0 {
				before.Values[v] = now
			}
		}
		before.At = p.At
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
	h := make(History, n)
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
		p.At = before.At + since
		for v := range p.Values {
			if differ&(1<<v) != 0 {
				var d int64
				if d, b, ok = varint(b); !ok {
					return nil, errPacked
				}
				before.Values[v] += d
			}
			p.Values[v] = before.Values[v]
			if unobserved&(1<<v) != 0 {
				p.Values[v] = Unobserved
			}
		}
		if i > 0 && p.At <= before.At {
			return nil, errPacked
		}
		before.At = p.At
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
