package main

import "testing"

func TestSparkline(t *testing.T) {
	n := func(v float64) *float64 { return &v }
	for name, c := range map[string]struct {
		values []*float64
		want   string
	}{
		"a rise":               {[]*float64{n(0), n(1), n(2), n(3), n(4), n(5), n(6), n(7)}, "▁▂▃▄▅▆▇█"},
		"a gap stays a gap":    {[]*float64{n(1), nil, n(3)}, "▁ █"},
		"all the same":         {[]*float64{n(5), n(5)}, "▅▅"},
		"below zero":           {[]*float64{n(-1), n(0), n(1)}, "▁▅█"},
		"nothing read":         {[]*float64{nil, nil}, "  "},
		"no day":               {nil, ""},
		"one value among gaps": {[]*float64{nil, n(9), nil}, " ▅ "},
	} {
		if got := sparkline(c.values); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
