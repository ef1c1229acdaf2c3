package velocity

import "fmt"

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
