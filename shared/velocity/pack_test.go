package velocity

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestPackedHistoryReadsBackAndIsSmall(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var h History
	counts := map[Value]int64{Name: rng.Int64(), Branch: rng.Int64()}
	for i := range 61 * 24 {
		for c := range counters {
			counts[c] += rng.Int64N(50) - 5
		}
		p := point("2025-01-01 00:00", counts)
		p.At += int64(i)*hour + rng.Int64N(hour)
		if i%7 == 0 {
			p.Values[Watchers] = Unobserved
		}
		h = h.Insert(p)
	}
	packed := h.Pack(nil)
	if len(packed) > 12<<10 {
		t.Errorf("%d points take %d bytes", len(h), len(packed))
	}
	t.Logf("%d points of 61 days, hourly: %d bytes", len(h), len(packed))
	back, err := Unpack(packed)
	if err != nil || !reflect.DeepEqual(back, h) {
		t.Errorf("read back other than written: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(History{starred(1, 2), starred(3, 4)}.Pack(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Unpack(b)
		if err != nil {
			return
		}
		if again, err := Unpack(h.Pack(nil)); err != nil || len(again) != len(h) || len(h) > 0 && !reflect.DeepEqual(again, h) {
			t.Errorf("%x: %v", b, err)
		}
	})
}
