package velocity

import (
	"fmt"
	"iter"
	"math"
	"time"
)

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

const (
	issuesOpenedText = "Issues opened: the change of open and closed together. Net: deleted and transferred ones are taken off."
	closureText      = "Issues closed over the mean of those open at the end of each day of the window: the CHAOSS Change Request Closure Ratio, " +
		"which does not say open when. Unknown when none was open or closed ones were reopened on balance."
	backlogText = "Issues closed over issues opened: the Backlog Management Index, 1 is steady. Unknown when none was opened. " +
		"The backlog's growth itself is open_issues_delta."

	prsOpenedText  = "Pull requests opened: the change of open, merged and closed together. Net of deleted ones."
	acceptanceText = "Pull requests merged over those decided, merged or closed: the CHAOSS Change Request Acceptance ratio. Unknown when none was decided."
)

// issues sets what the two counters of issues tell: opened = Δ(open + closed),
// closure ratio = Δclosed / mean(open), backlog index = Δclosed / opened.
func (r *reading) issues(v *Velocities) {
	for s := Day; s <= Month; s++ {
		b := r.bases[s]
		open, okOpen := r.now.delta(OpenIssues, b)
		closed, okClosed := r.now.delta(ClosedIssues, b)
		if !okOpen || !okClosed {
			continue
		}
		opened := open + closed
		v.SetInt(IssuesOpened(s), opened)
		if opened > 0 && closed >= 0 {
			v.SetFloat(BacklogIndex(s), float64(closed)/float64(opened))
		}
		if mean := r.mean(OpenIssues, b.At); mean > 0 && closed >= 0 {
			v.SetFloat(IssueClosureRatio(s), float64(closed)/mean)
		}
	}
}

// mean is the mean of a value over the last readings of the days from a time on
// to now.
func (r *reading) mean(value Value, from int64) float64 {
	sum, n := float64(0), float64(0)
	for p := range r.days(from / day) {
		if x := p.Values[value]; x != Unobserved {
			sum, n = sum+float64(x), n+1
		}
	}
	return sum / n
}

// pullRequests sets opened = Δ(open + merged + closed), acceptance =
// Δmerged / (Δmerged + Δclosed), and commits per merged one.
func (r *reading) pullRequests(v *Velocities) {
	for s := Day; s <= Month; s++ {
		b := r.bases[s]
		merged, okMerged := r.now.delta(MergedPRs, b)
		closed, okClosed := r.now.delta(ClosedPRs, b)
		if !okMerged || !okClosed {
			continue
		}
		if merged >= 0 && closed >= 0 && merged+closed > 0 {
			v.SetFloat(PRAcceptanceRatio(s), float64(merged)/float64(merged+closed))
		}
		if open, ok := r.now.delta(OpenPRs, b); ok {
			v.SetInt(PRsOpened(s), open+merged+closed)
		}
	}
	merged, okMerged := r.now.delta(MergedPRs, r.bases[Month])
	commits, okCommits := r.now.delta(CommitsTotal, r.bases[Month])
	if okMerged && okCommits && merged > 0 && commits >= 0 {
		v.SetFloat(CommitsPerMergedPR, float64(commits)/float64(merged))
	}
}

// healthLeast is how many parts a score needs.
const healthLeast = 2

// health sets each part that is known, 0 to 100, and their mean.
func (r *reading) health(v *Velocities) {
	if active, observed := v.Int(ActiveDays(Month)), v.Int(ObservedDays(Month)); active != nil && observed != nil {
		v.SetFloat(HealthActivity, 100*float64(*active)/float64(*observed))
	}
	if days := v.Float(DaysSincePush); days != nil {
		v.SetFloat(HealthMaintenance, graded(*days, 7, 30, 90, 180))
	}
	if index := v.Float(BacklogIndex(Month)); index != nil {
		v.SetFloat(HealthClosure, 100*min(1, *index))
	}
	if ratio := v.Float(PRAcceptanceRatio(Month)); ratio != nil {
		v.SetFloat(HealthAcceptance, 100**ratio)
	}
	if days := v.Float(DaysSinceRelease); days != nil {
		v.SetFloat(HealthRelease, graded(*days, 30, 90, 180, 365))
	}
	var parts int64
	var sum float64
	for f := HealthActivity; f <= HealthRelease; f++ {
		if part := v.Float(f); part != nil {
			parts, sum = parts+1, sum+*part
		}
	}
	v.SetInt(HealthParts, parts)
	if parts >= healthLeast {
		v.SetFloat(HealthScore, sum/float64(parts))
	}
}

// graded is 100 up to the first bound, and 25 less at each.
func graded(x float64, bounds ...float64) float64 {
	grade := 100.0
	for _, b := range bounds {
		if x <= b {
			return grade
		}
		grade -= 25
	}
	return 0
}

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
// windows. Over 7 days it may be a day older, for there a History has one point for each
// day, and each base may lie the better part of a day further back; over 30 days a
// History does not reach that far.
func (r *reading) acceleration(v *Velocities) {
	for s := Day; s <= Month; s++ {
		b1 := r.bases[s]
		if b1 == nil {
			continue
		}
		w := Windows()[s]
		oldest := r.now.At - 2*w.Length.Milliseconds()
		if s == Week {
			oldest -= day
		}
		b0 := r.past.base(w, b1.At)
		if b0 == nil || b0.At < oldest {
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

// bands are those of the daily rates of stars before the last day. They need a reading
// that is a day old.
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
