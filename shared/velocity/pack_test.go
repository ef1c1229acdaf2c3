package velocity

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
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

// TestHistoryOfTheFirstVersionIsReadAsItWasWritten: a value that it knew nothing
// of was not observed, and is not zero.
func TestHistoryOfTheFirstVersionIsReadAsItWasWritten(t *testing.T) {
	text, err := os.ReadFile("testdata/packed.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want History
	var packed []byte
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if digits, ok := strings.CutPrefix(line, "= "); ok {
			if packed, err = hex.DecodeString(digits); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(line, "+") {
			want = append(want, parseReading(t, line))
		}
	}
	got, err := Unpack(packed)
	if err != nil || len(want) != 5 || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: got %v, want %v", err, got, want)
	}
}

// TestValueOfALaterVersionIsPassedOver: after a rollback an older program reads
// what a newer one has written.
func TestValueOfALaterVersionIsPassedOver(t *testing.T) {
	want := History{starred(5, 7), starred(9, 7)}
	const later = 1 << 40
	observed := uint64(1)<<Stars | later
	b := binary.AppendUvarint(nil, 2)
	b = binary.AppendVarint(b, 5)
	b = binary.AppendUvarint(b, observed) // both differ from the beginning
	b = binary.AppendUvarint(b, observed^first)
	b = binary.AppendVarint(binary.AppendVarint(b, 7), 99)
	b = binary.AppendVarint(b, 4)
	b = binary.AppendUvarint(b, later)
	b = binary.AppendUvarint(b, observed^first)
	b = binary.AppendVarint(b, -3)
	got, err := Unpack(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: got %v, want %v", err, got, want)
	}
}

func TestEachValueHasANumberOfItsOwn(t *testing.T) {
	taken := map[uint8]string{}
	for _, d := range definitions() {
		if other, twice := taken[d.number]; twice || d.number > 63 || d.name == "" {
			t.Errorf("%q has the number %d, as has %q", d.name, d.number, other)
		}
		taken[d.number] = d.name
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
