package velocity

const accelerationText = "The rate of stars over the window less the rate over the window before it, per day between: the second difference. " +
	"Unknown until two windows were observed."

// acceleration sets (v₁ − v₀) / days(t − b₁), where v₁ is the rate from the base
// b₁ to now and v₀ that from b₀, the base of b₁, to b₁; b₀ is not older than two
// windows, which is as far as a History reaches.
func (r *reading) acceleration(v *Velocities) {
	for s := Day; s <= Month; s++ {
		b1 := r.bases[s]
		if b1 == nil {
			continue
		}
		w := Windows()[s]
		b0 := r.past.base(w, b1.At)
		if b0 == nil || b0.At < r.now.At-2*w.Length.Milliseconds() {
			continue
		}
		if !r.comparable(b0, b1) || !r.comparable(b1, r.now) {
			continue
		}
		late, okLate := rate(r.now, b1, Stars)
		early, okEarly := rate(b1, b0, Stars)
		if okLate && okEarly {
			v.SetFloat(StarsAcceleration(s), (late-early)/(float64(r.now.At-b1.At)/float64(day)))
		}
	}
}

// rate is the change of a value a day between two points.
func rate(now, then *Point, value Value) (float64, bool) {
	d, ok := now.delta(value, then)
	if !ok {
		return 0, false
	}
	return float64(d) / (float64(now.At-then.At) / float64(day)), true
}
