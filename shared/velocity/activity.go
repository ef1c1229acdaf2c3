package velocity

import (
	"iter"
	"time"
)

const (
	activeText = "UTC days on which any counter or the time of the last push differed from the reading before: Active Days as LFX Insights has them. " +
		"Days without a reading count as neither; see observed_days."
	observedText = "UTC days of the window that have a reading, and one before it to compare with."
	releasesText = "New releases over 30 days, per week: CHAOSS Release Frequency. A proxy for DORA's deployment frequency: a release is not a deployment. " +
		"Tags without a release are unseen."
)

// activity counts days, by the last reading of each, in the days up to that of
// the reading, and sets the commits per person who can be given work.
func (r *reading) activity(v *Velocities) {
	var active, observed [spans]int64
	first := func(s Span) int64 { return r.now.At/day - int64(Windows()[s].Length/(24*time.Hour)) + 1 }
	week := first(Week)
	r.daily(first(Month), func(p, before *Point) {
		inWeek := p.At/day >= week
		observed[Month]++
		if inWeek {
			observed[Week]++
		}
		if p.changed(before) {
			active[Month]++
			if inWeek {
				active[Week]++
			}
		}
	})
	for s := Week; s <= Month; s++ {
		if observed[s] > 0 {
			v.SetInt(ActiveDays(s), active[s])
			v.SetInt(ObservedDays(s), observed[s])
		}
	}
	if commits, ok := r.now.delta(CommitsTotal, r.bases[Month]); ok && commits >= 0 && r.now.Values[AssignableUsers] > 0 {
		v.SetFloat(CommitsPerAssignableUser, float64(commits)/float64(r.now.Values[AssignableUsers]))
	}
}

// changed says whether anything but the name happened since a point.
func (p *Point) changed(since *Point) bool {
	for value := range Name {
		if p.differs(value, since) {
			return true
		}
	}
	return false
}

// daily walks over the last reading of each UTC day from the first on, each with
// that of the last day before it that has one, no further back than a History
// always reaches.
func (r *reading) daily(first int64, each func(p, before *Point)) {
	var before *Point
	if i, _ := r.past.find(first * day); i > 0 && r.past[i-1].At/day > r.now.At/day-keepDays {
		before = &r.past[i-1]
	}
	for p := range r.days(first) {
		if before != nil {
			each(p, before)
		}
		before = p
	}
}

// days yields the last reading of each UTC day from the first on. Now is the
// last of its day.
func (r *reading) days(first int64) iter.Seq[*Point] {
	return func(yield func(*Point) bool) {
		i, _ := r.past.find(first * day)
		for ; i < len(r.past); i++ {
			next := r.now
			if i+1 < len(r.past) {
				next = &r.past[i+1]
			}
			if next.At/day != r.past[i].At/day && !yield(&r.past[i]) {
				return
			}
		}
		yield(r.now)
	}
}

// releases sets the release frequency and the ages of the last release and push.
func (r *reading) releases(v *Velocities) {
	if perDay, ok := rate(r.now, r.bases[Month], Releases); ok {
		v.SetFloat(ReleasesPerWeek, 7*perDay)
	}
	r.since(v, DaysSincePush, PushedAt)
	r.since(v, DaysSinceRelease, ReleasedAt)
}

// since sets the days from a moment that was read to the reading.
func (r *reading) since(v *Velocities, f Field, moment Value) {
	if at := r.now.Values[moment]; at != Unobserved && at <= r.now.At {
		v.SetFloat(f, float64(r.now.At-at)/float64(day))
	}
}

// changes marks what makes a series look other than it is.
func (r *reading) changes(v *Velocities) {
	if r.before == nil {
		return
	}
	v.SetBool(IsRenamed, r.now.differs(Name, r.before))
	if _, ok := r.now.delta(Branch, r.before); ok {
		v.SetBool(IsBranchChanged, r.now.differs(Branch, r.before))
	}
	if commits, ok := r.now.delta(CommitsTotal, r.before); ok {
		v.SetBool(IsHistoryRewritten, commits < 0 && !r.now.differs(Branch, r.before))
	}
}
