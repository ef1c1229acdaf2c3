package hot_test

import (
	"fmt"
	"testing"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

func TestRepositoriesAreComparedByIndexAndShareOfGrowth(t *testing.T) {
	known := func(values ...float64) (days []*float64) {
		for _, v := range values {
			if v < 0 { // a day without a reading
				days = append(days, nil)
				continue
			}
			days = append(days, &v)
		}
		return days
	}
	got := hot.Compare([]hot.Series{
		{Name: "grows", Stars30d: new(int64(30)), Days: known(-1, 50, -1, 75, -1)},
		{Name: "grows less", Stars30d: new(int64(10)), Days: known(100, 101)},
		{Name: "shrinks", Stars30d: new(int64(-40)), Days: known(100, 60)},
		{Name: "began at nothing", Days: known(0, 5)},
		{Name: "was not read", Days: known(-1, -1)},
	})
	for i, want := range []struct{ index, share *float64 }{
		{new(150.0), new(.75)}, {new(101.0), new(.25)}, {new(60.0), nil}, {nil, nil}, {nil, nil},
	} {
		c := got[i]
		if text(c.Index) != text(want.index) || text(c.ShareOfGrowth) != text(want.share) {
			t.Errorf("%s: index %s, share %s; want %s and %s", c.Name, text(c.Index), text(c.ShareOfGrowth), text(want.index), text(want.share))
		}
	}
}

func text(v *float64) string {
	if v == nil {
		return "unknown"
	}
	return fmt.Sprint(*v)
}
