package serve

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Gauge is one figure that a monitoring system may read.
type Gauge struct {
	Name   string // without the prefix m7pulse_
	Labels map[string]string
	Value  float64
}

// writeMetrics writes gauges in Prometheus's text form, those of one name
// together.
func writeMetrics(w io.Writer, function string, s Status) error {
	failing := 0.0
	if s.Failing != "" {
		failing = 1
	}
	all := append([]Gauge{{Name: "failing", Value: failing}}, s.Gauges...)
	slices.SortStableFunc(all, func(a, b Gauge) int { return cmp.Compare(a.Name, b.Name) })
	last := ""
	for _, g := range all {
		if g.Name != last {
			if _, err := fmt.Fprintf(w, "# TYPE m7pulse_%s gauge\n", g.Name); err != nil {
				return err
			}
			last = g.Name
		}
		labels := fmt.Sprintf("function=%q", function)
		for _, name := range slices.Sorted(maps.Keys(g.Labels)) {
			labels += fmt.Sprintf(",%s=%q", name, g.Labels[name])
		}
		if _, err := fmt.Fprintf(w, "m7pulse_%s{%s} %v\n", g.Name, labels, g.Value); err != nil {
			return err
		}
	}
	return nil
}
