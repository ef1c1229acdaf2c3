package velocity

import "time"

// Window is a length of time over which a counter's change is measured.
type Window struct {
	Name   string        // as in the field names: 1h, 24h, 7d, 30d
	Length time.Duration // the nominal length
	slack  time.Duration // how much younger than Length a base may be: sweeps jitter
}

const (
	windows = 4
	metrics = 6
)

// Windows lists the windows, shortest first.
func Windows() [windows]Window {
	return [windows]Window{
		{"1h", time.Hour, 15 * time.Minute},
		{"24h", 24 * time.Hour, time.Hour},
		{"7d", 7 * 24 * time.Hour, time.Hour},
		{"30d", 30 * 24 * time.Hour, time.Hour},
	}
}

// Metrics lists the counters that have velocities, in the order of
// Velocities.Deltas, by field name.
func Metrics() [metrics]string {
	return [metrics]string{"stars", "forks", "open_issues", "merged_prs", "closed_issues", "commits_total"}
}

// base returns the latest point b with t−2w ≤ b ≤ t−w+slack, the one that the
// delta of a window at the time t (ms) is measured from, or nil.
func (h History) base(w Window, t int64) *Point {
	length := w.Length.Milliseconds()
	i, found := h.find(t - length + w.slack.Milliseconds())
	if !found {
		i--
	}
	if i < 0 || h[i].At < t-2*length {
		return nil
	}
	return &h[i]
}

// Measure computes the velocities of a point against a history. For each
// window: delta = x(t) − x(b), a net change that may be negative; per_day =
// delta / days(t − b), the rate over the span that was really observed, which
// is what rankings use.
func (h History) Measure(p Point) Velocities {
	var v Velocities
	basesAt, deltas, rates := v.BasesAt(), v.Deltas(), v.PerDay()
	now := p.values()
	for wi, w := range Windows() {
		b := h.base(w, p.At)
		if b == nil {
			continue
		}
		at := time.UnixMilli(b.At).UTC()
		*basesAt[wi] = &at
		days := float64(p.At-b.At) / float64(day)
		then := b.values()
		for m := range metrics {
			if now[m] == nil || then[m] == nil {
				continue
			}
			delta := *now[m] - *then[m]
			rate := float64(delta) / days
			*deltas[m][wi], *rates[m][wi] = &delta, &rate
		}
	}
	return v
}

// Equal says whether two velocities are the same in every field.
func (v *Velocities) Equal(o *Velocities) bool {
	vb, ob := v.BasesAt(), o.BasesAt()
	vd, od := v.Deltas(), o.Deltas()
	for w := range windows {
		if (*vb[w] == nil) != (*ob[w] == nil) || *vb[w] != nil && !(*vb[w]).Equal(**ob[w]) {
			return false
		}
		for m := range metrics {
			a, b := *vd[m][w], *od[m][w]
			if (a == nil) != (b == nil) || a != nil && *a != *b {
				return false
			}
		}
	}
	return true
}
