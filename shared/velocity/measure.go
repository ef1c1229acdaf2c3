package velocity

import "fmt"

// reading is a point with its past: all that a metric may look at.
type reading struct {
	now    *Point
	past   History // before now
	before *Point  // the newest of the past, or nil
	bases  [spans]*Point

	shifts []shift // of stars
}

// Measure computes all fields of a point against the points before it, which
// the history holds. They do not depend on what came in between or later.
func (h History) Measure(p Point) Velocities {
	r := h.reading(&p)
	var v Velocities
	r.deltas(&v)
	r.acceleration(&v)
	r.issues(&v)
	r.pullRequests(&v)
	r.activity(&v)
	r.releases(&v)
	r.bursts(&v)
	r.suspicion(&v)
	r.milestone(&v)
	r.changes(&v)
	r.health(&v)
	return v
}

// reading is a point with its past; the history may hold more than it needs.
func (h History) reading(p *Point) reading {
	i, _ := h.find(p.At)
	r := reading{now: p, past: h[:i]}
	if i > 0 {
		r.before = &h[i-1]
	}
	for s, w := range Windows() {
		r.bases[s] = r.past.base(w, p.At)
	}
	r.shifts = r.findShifts()
	return r
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

func baseText(w Window) string {
	return fmt.Sprintf("When the reading was made that the %s fields compare with: the latest between %s and twice that before.", w.Name, w.Name)
}

func deltaText(counter string, w Window) string {
	text := fmt.Sprintf("Net change of %s over %s: what was undone, deleted or moved away is in it. A fall is a fact; without a base it is unknown.", counter, w.Name)
	if counter == Counters()[Stars] {
		text += " Unknown too over a collapse or the return from one; see is_suspicious."
	}
	return text
}

func rateText(counter string, w Window) string {
	return fmt.Sprintf("Net change of %s a day over %s: %s_delta_%s over the days that really lie between the two readings.", counter, w.Name, counter, w.Name)
}

// deltas sets, for each window, the base, and of each counter delta = x(t) −
// x(b), a net change that may be negative. The rate that rankings use follows
// from the two: see Rate. Stars over a collapse have neither.
func (r *reading) deltas(v *Velocities) {
	for s := range spans {
		b := r.bases[s]
		if b == nil {
			continue
		}
		v.SetInt(BaseAt(s), b.At)
		for c := range counters {
			if c == Stars && !r.comparable(b, r.now) {
				continue
			}
			if d, ok := r.now.delta(c, b); ok {
				v.SetInt(Delta(c, s), d)
			}
		}
	}
}
