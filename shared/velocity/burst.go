package velocity

import (
	"fmt"
	"math"
)

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
		"of which at least the square root of the mean is assumed, and 1: a quiet repository does not break out by a few stars.", days)
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
	if !ok {
		return
	}
	if z, ok := r.z(x, burstDays, burstLeast); ok {
		v.SetFloat(BurstZ, z)
		v.SetBool(IsBurst, math.Abs(z) > burstBand)
	}
	if z, ok := r.z(x, breakoutDays, breakoutLeast); ok {
		gain, _ := r.now.delta(Stars, r.bases[Day])
		v.SetFloat(BreakoutZ, z)
		v.SetBool(IsBreakout, z >= breakoutZ && r.now.Values[Stars] >= breakoutStars && gain >= breakoutGain)
	}
}

// z is the z-score of x against the daily rates of the days before the base of
// the last day, unknown with fewer than least of them.
func (r *reading) z(x float64, days, least int) (float64, bool) {
	last := r.bases[Day].At
	var n, sum, squares float64
	r.daily(last/day-int64(days)+1, func(p, before *Point) {
		if p.At > last {
			return
		}
		if y, ok := rate(p, before, Stars); ok {
			n, sum, squares = n+1, sum+y, squares+y*y
		}
	})
	if n < float64(least) {
		return 0, false
	}
	mean := sum / n
	sd := math.Sqrt(max(0, squares/n-mean*mean))
	return (x - mean) / max(sd, math.Sqrt(max(0, mean)), 1), true
}
