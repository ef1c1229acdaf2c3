package velocity

import "fmt"

const collapseStars = 10 // that a fall, and a rise after one, must have at least

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
			fell := 2*x < before && before-x >= collapseStars
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
