package velocity

import "testing"

// readEachHour is 61 days of hourly readings of an active repository.
func readEachHour() (h History, last Point) {
	for i := range int64(61 * 24) {
		last = point("2025-01-01 00:00", nil)
		last.At += i * hour
		for v := range last.Values {
			last.Values[v] = 1_000*int64(v+1) + i*int64(v+1)/7
		}
		h = h.Insert(last)
	}
	return h, last
}

func BenchmarkHistory(b *testing.B) {
	h, last := readEachHour()
	packed := h.Pack(nil)
	b.Run("measure", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Measure(last)
		}
	})
	b.Run("pack", func(b *testing.B) {
		to := make([]byte, 0, 2*len(packed))
		for b.Loop() {
			h.Pack(to)
		}
		b.ReportMetric(float64(len(packed)), "bytes")
	})
	b.Run("unpack", func(b *testing.B) {
		for b.Loop() {
			if _, err := Unpack(packed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
