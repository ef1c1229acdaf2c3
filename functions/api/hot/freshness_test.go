package hot

import (
	"reflect"
	"testing"
	"time"
)

func TestGapsAreTheDaysBetweenReadings(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2025, 3, d, 0, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		read   []time.Time
		newest time.Time
		want   []Gap
	}{
		"none":                {[]time.Time{day(1), day(2), day(3)}, day(3), []Gap{}},
		"one day":             {[]time.Time{day(1), day(3)}, day(3), []Gap{{"2025-03-02", "2025-03-02"}}},
		"several":             {[]time.Time{day(1), day(4), day(5), day(9)}, day(9), []Gap{{"2025-03-02", "2025-03-03"}, {"2025-03-06", "2025-03-08"}}},
		"up to the newest":    {[]time.Time{day(1)}, day(31), []Gap{{"2025-03-02", "2025-03-31"}}},
		"nothing was read":    {nil, day(3), []Gap{}},
		"on the newest alone": {[]time.Time{day(3)}, day(3), []Gap{}},
	} {
		if got := gaps(c.read, c.newest); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
