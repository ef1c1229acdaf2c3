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
	last := r.bases[Day].At
	var burst, breakout band
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

// band is the mean and the deviation of some rates.
type band struct{ n, sum, squares float64 }

func (b *band) add(x float64) { b.n, b.sum, b.squares = b.n+1, b.sum+x, b.squares+x*x }

func (b *band) z(x float64) float64 {
	mean := b.sum / b.n
	sd := math.Sqrt(max(0, b.squares/b.n-mean*mean))
	return (x - mean) / max(sd, math.Sqrt(max(0, mean)), 1)
}
