package velocity

import (
	"fmt"
	"math"
)

// The metrics of stars: collapses, acceleration, bursts, suspicion, milestones.

const collapseStars = 10 // that a fall, and a rise after one, must have at least

// Collapsed says whether a counter fell by more than half, and by 10 or more, from one
// reading to the next.
func Collapsed(before, now int64) bool { return 2*now < before && before-now >= collapseStars }

func collapseText() string {
	return fmt.Sprintf("stars that fell by more than half, and by %d or more, from one reading to the next, or that rose again by as many after such a fall, undoing most of it or more than doubling: "+
		"a wrong answer, or a purge. The change of stars from before it to after, its rate, acceleration and z are unknown, so that no ranking has them, and no milestone is passed.", collapseStars)
}

// shift says from when on stars are not comparable with those of before: they
// have collapsed, or come back.
type shift struct {
	at    int64
	level int // 0 as long as nothing has collapsed, and again when that is undone
}

// findShifts lists the shifts, as far back as a History always reaches. A slow
// recovery is growth.
func (r *reading) findShifts() (all []shift) {
	level, levels := 0, 0
	before, peak := int64(Unobserved), int64(Unobserved)
	step := func(p *Point) {
		x := p.Values[Stars]
		if x == Unobserved || p.At/day <= r.now.At/day-keepDays {
			return
		}
		if before != Unobserved {
			fell := Collapsed(before, x)
			rose := 2*before < peak && x-before >= collapseStars && (x > 2*before || 2*(x-before) > peak-before)
			switch {
			case rose && 2*x >= peak:
				level = 0
			case fell || rose:
				levels++
				level = levels
			}
			if fell || rose {
				all = append(all, shift{p.At, level})
			}
		}
		before, peak = x, max(peak, x)
	}
	for i := range r.past {
		step(&r.past[i])
	}
	step(r.now)
	return all
}

// comparable says whether a change of stars between two points is growth or
// loss: neither a collapse nor the return from one alone lies between them.
func (r *reading) comparable(a, b *Point) bool { return r.level(a) == r.level(b) }

func (r *reading) level(p *Point) (level int) {
	for _, s := range r.shifts {
		if s.at <= p.At {
			level = s.level
		}
	}
	return level
}

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

const (
	burstDays, burstLeast       = 7, 5
	breakoutDays, breakoutLeast = 30, 10
	burstBand                   = 2.0
	breakoutZ                   = 3.0
	breakoutStars               = 100 // that a repository must have
	breakoutGain                = 10  // stars in a day, at least
)

func zText(days int) string {
	return fmt.Sprintf("The 24 h rate of stars less the mean of the daily rates of the %d days before, in their standard deviations, "+
		"taken as at least the square root of the mean, and at least 1: a quiet repository does not break out by a few stars. Collapses and the returns from them are left out.", days)
}

func breakoutText() string {
	return fmt.Sprintf("breakout_z of %g or more, with %d stars or more and %d or more gained in 24 h.", breakoutZ, breakoutStars, breakoutGain)
}

// bursts sets how far the rate of the last day is from the repository's own
// past: z = (x − mean) / max(sd, √mean, 1) over daily rates, which there must be
// five of for a burst, ten for a breakout. √mean is the deviation that events
// independent of each other have (Poisson).
func (r *reading) bursts(v *Velocities) {
	x, ok := rate(r.now, r.bases[Day], Stars)
	if !ok || !r.comparable(r.bases[Day], r.now) {
		return
	}
	burst, breakout := r.bands()
	if burst.n >= burstLeast {
		z := burst.z(x)
		v.SetFloat(BurstZ, z)
		v.SetBool(IsBurst, math.Abs(z) > burstBand)
	}
	if breakout.n >= breakoutLeast {
		gain, _ := r.now.delta(Stars, r.bases[Day])
		z := breakout.z(x)
		v.SetFloat(BreakoutZ, z)
		v.SetBool(IsBreakout, z >= breakoutZ && r.now.Values[Stars] >= breakoutStars && gain >= breakoutGain)
	}
}

// bands are of the daily rates of stars in the days before the last one, of which there
// must be a reading.
func (r *reading) bands() (burst, breakout band) {
	last := r.bases[Day].At
	r.daily(last/day-breakoutDays+1, func(p, before *Point) {
		if p.At > last || !r.comparable(before, p) {
			return
		}
		if y, ok := rate(p, before, Stars); ok {
			breakout.add(y)
			if p.At/day > last/day-burstDays {
				burst.add(y)
			}
		}
	})
	return burst, breakout
}

// UsualStars are the means of the daily rates of stars that burst_z and breakout_z of a
// point compare with; of a point that has no such z they mean nothing.
func (h History) UsualStars(p Point) (burst, breakout float64) {
	r := h.reading(&p)
	if r.bases[Day] == nil {
		return 0, 0
	}
	week, month := r.bands()
	return week.sum / week.n, month.sum / month.n
}

// band is the mean and the deviation of some rates.
type band struct{ n, sum, squares float64 }

func (b *band) add(x float64) { b.n, b.sum, b.squares = b.n+1, b.sum+x, b.squares+x*x }

func (b *band) z(x float64) float64 {
	mean := b.sum / b.n
	sd := math.Sqrt(max(0, b.squares/b.n-mean*mean))
	return (x - mean) / max(sd, math.Sqrt(max(0, mean)), 1)
}

const (
	suspiciousGain = 50  // stars in a day, at least
	starsPerFork   = 100 // more stars for each new fork than this
)

func suspiciousText() string {
	return fmt.Sprintf("Within 24 h, a breakout of %d stars or more that nothing else follows: fewer than one new fork for %d stars, no issue opened and no watcher more, "+
		"as far as these were observed. Flagged, not hidden: a mention on a front page looks alike. Or a collapse: "+collapseText(), suspiciousGain, starsPerFork)
}

// suspicion looks whether stars collapsed or came back, and whether people who
// star also fork, report and watch. Of that it says nothing when forks were not
// observed.
func (r *reading) suspicion(v *Velocities) {
	since := r.bases[Day]
	if since == nil {
		since = r.before
	}
	if since != nil && !r.comparable(since, r.now) {
		v.SetBool(IsSuspicious, true)
		return
	}
	stars, okStars := r.now.delta(Stars, r.bases[Day])
	forks, okForks := r.now.delta(Forks, r.bases[Day])
	if !okStars || !okForks || !v.Has(IsBreakout) {
		return
	}
	watchers, _ := r.now.delta(Watchers, r.bases[Day])
	opened := v.Int(IssuesOpened(Day))
	v.SetBool(IsSuspicious, *v.Bool(IsBreakout) && stars >= suspiciousGain && forks*starsPerFork < stars &&
		watchers <= 0 && (opened == nil || *opened <= 0))
}

const milestoneText = "The highest of 1k, 5k, 10k, 25k, 50k, 100k, 250k and 500k stars that was passed since the reading before. Absent when none was."

// milestone sets the highest mark m with x(before) < m ≤ x(now).
func (r *reading) milestone(v *Velocities) {
	if r.before == nil || !r.comparable(r.before, r.now) {
		return
	}
	for _, mark := range [...]int64{1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000} {
		if r.before.Values[Stars] < mark && mark <= r.now.Values[Stars] {
			v.SetInt(Milestone, mark)
		}
	}
}
