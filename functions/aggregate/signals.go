package aggregate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// raise emits the signals that follow from an observation that is now the newest of its
// repository. before is the newest until then; was, the same as it stood in Kafka.
//
// They are in the transaction of the observation's row, so each is emitted once. They
// follow from the observation and the history alone, which is the same wherever blocks
// begin and however often the state was rebuilt; so no state is kept of what was
// raised. What is quiet for some days is so because the history shows that the same was
// to be said at a reading of those days.
//
// A late observation raises nothing: what has changed since the reading before was said
// when the newer one came.
func (w *work) raise(ctx context.Context, h *history, before *velocity.Point, was []byte, row *event.RepoProcessed, mayRepeat bool) error {
	if before == nil {
		return nil
	}
	c := course{history: h.points, before: before, now: h.points.Newest(), row: row}
	c.judge()
	if c.now.Values[velocity.Name] != before.Values[velocity.Name] {
		o, err := w.engine.codec.Observed(ctx, &kgo.Record{Value: was})
		if err != nil {
			return fmt.Errorf("read the newest observation again: %w", err)
		}
		c.named(o)
	}
	for _, s := range c.signals {
		s.Identify()
		r, err := w.engine.codec.Record(ctx, s, mayRepeat)
		if err != nil {
			return err
		}
		w.produce(r)
	}
	return nil
}

// course is what signals are judged by: an observation and what was before it.
type course struct {
	history     velocity.History // with now
	before, now *velocity.Point
	row         *event.RepoProcessed
	signals     []*event.Signal
}

// judge raises all but what follows from another name.
func (c *course) judge() {
	c.stars()
	c.milestone()
	c.release()
	if was := c.before.Values[velocity.Archived]; was == 0 && c.now.Values[velocity.Archived] == 1 {
		c.raise(signal.Archived).Say("%s was archived: it is read-only now", c.row.NameWithOwner)
	}
	c.falls()
}

// raise adds a signal of a kind, without its words.
func (c *course) raise(kind string) *event.Signal {
	s := signal.New(kind)
	o := &c.row.Observation
	s.RepoID, s.NameWithOwner, s.Owner, s.Company, s.ObservedAt = new(o.ID), new(o.NameWithOwner), o.Owner, o.Company, o.ObservedAt
	s.Evidence = fmt.Sprintf("%d@%d", o.ID, o.ObservedAt.UnixMilli())
	c.signals = append(c.signals, s)
	return s
}

// measured says what a signal measures; usual may be nil.
func measured(s *event.Signal, metric, window string, value float64, usual *float64) {
	s.Metric, s.Value, s.Usual = &metric, &value, usual
	if window != "" {
		s.Window = &window
	}
}

// pace is what the rates of stars say.
type pace struct{ breakout, suspicious, burst bool }

func paceOf(v *velocity.Velocities) (p pace) {
	gain := v.Int(velocity.Delta(velocity.Stars, velocity.Day))
	if gain == nil {
		return p
	}
	if z, is := v.Float(velocity.BreakoutZ), v.Bool(velocity.IsBreakout); z != nil && is != nil && *is && *z >= signal.BreakoutZ {
		p.breakout = true
		suspicious := v.Bool(velocity.IsSuspicious)
		p.suspicious = suspicious != nil && *suspicious
	}
	if z := v.Float(velocity.BurstZ); z != nil && math.Abs(*z) >= signal.BurstZ && (*gain >= signal.LeastGain || *gain <= -signal.LeastGain) {
		p.burst = true
	}
	return p
}

// stars raises at most one of breakout, suspicious_spike and burst.
func (c *course) stars() {
	is := paceOf(&c.row.Velocities)
	if !is.breakout && !is.burst { // nearly always
		return
	}
	kind, same := signal.Burst, func(p pace) bool { return p.burst || p.breakout }
	switch {
	case is.suspicious:
		kind, same = signal.SuspiciousSpike, func(p pace) bool { return p.suspicious }
	case is.breakout:
		kind, same = signal.Breakout, func(p pace) bool { return p.breakout && !p.suspicious }
	}
	for p := range c.lately() {
		if v := c.history.Measure(p); same(paceOf(&v)) {
			return
		}
	}
	gain := *c.row.Int(velocity.Delta(velocity.Stars, velocity.Day))
	week, month := c.history.UsualStars(*c.now)
	usual, z := month, velocity.BreakoutZ
	if kind == signal.Burst {
		usual, z = week, velocity.BurstZ
	}
	s := c.raise(kind)
	measured(s, "stars", velocity.Windows()[velocity.Day].Name, float64(gain), &usual)
	what := fmt.Sprintf("gained %d", gain)
	if gain < 0 {
		what = fmt.Sprintf("lost %d", -gain)
	}
	after := ""
	if kind == signal.SuspiciousSpike {
		after = ", and neither forks nor watchers nor issues follow"
	}
	s.Say("%s %s stars in 24 h%s; usual is %.1f a day (z %.1f)", c.row.NameWithOwner, what, after, usual, *c.row.Float(z))
}

// lately yields the readings before now within the quiet days, the newest first.
func (c *course) lately() func(yield func(velocity.Point) bool) {
	since := c.now.At - signal.QuietDays*24*time.Hour.Milliseconds()
	return func(yield func(velocity.Point) bool) {
		if c.before.At >= since && !yield(*c.before) { // which the history may have thinned out
			return
		}
		for _, p := range slices.Backward(c.history) {
			if p.At < since || p.At < c.before.At && !yield(p) {
				return
			}
		}
	}
}

// quiet says whether a change from one reading to the next was there lately, before now.
func (c *course) quiet(changed func(before, now *velocity.Point) bool) bool {
	var later *velocity.Point
	for p := range c.lately() {
		if later != nil && changed(&p, later) {
			return true
		}
		later = &p
	}
	return false
}

// highest is the highest that a value was before now.
func (c *course) highest(v velocity.Value) int64 {
	highest := c.before.Values[v]
	for _, p := range c.history[:len(c.history)-1] {
		highest = max(highest, p.Values[v]) // what was not observed is the least
	}
	return highest
}

func (c *course) milestone() {
	mark := c.row.Int(velocity.Milestone)
	if mark == nil || c.highest(velocity.Stars) >= *mark {
		return
	}
	s := c.raise(signal.Milestone)
	measured(s, "stars", "", float64(*mark), nil)
	s.Say("%s has passed %d stars: it has %d", c.row.NameWithOwner, *mark, c.row.Stars)
}

func (c *course) release() {
	at, was := c.now.Values[velocity.ReleasedAt], c.before.Values[velocity.ReleasedAt]
	first := was == velocity.Unobserved && c.before.Values[velocity.Releases] == 0
	if at == velocity.Unobserved || at <= was || was == velocity.Unobserved && !first || at <= c.highest(velocity.ReleasedAt) {
		return
	}
	s := c.raise(signal.Release)
	if n := c.row.Releases; n != nil {
		measured(s, "releases", "", float64(*n), nil)
	}
	name := "a release"
	if c.row.LatestRelease != nil && *c.row.LatestRelease != "" {
		name = fmt.Sprintf("%.100q", *c.row.LatestRelease)
	}
	s.Say("%s has released %s", c.row.NameWithOwner, name)
}

// falls raises counters that have fallen.
func (c *course) falls() {
	rewritten := func(before, now *velocity.Point) bool {
		return known(velocity.CommitsTotal, before, now) && now.Values[velocity.CommitsTotal] < before.Values[velocity.CommitsTotal] &&
			known(velocity.Branch, before, now) && now.Values[velocity.Branch] == before.Values[velocity.Branch]
	}
	if rewritten(c.before, c.now) && !c.quiet(rewritten) {
		commits, before := c.now.Values[velocity.CommitsTotal], float64(c.before.Values[velocity.CommitsTotal])
		s := c.raise(signal.HistoryRewritten)
		measured(s, "commits_total", "", float64(commits), &before)
		s.Say("%s has %d commits on its default branch, %.0f before: its history was rewritten", c.row.NameWithOwner, commits, before)
	}
	names := velocity.Counters()
	for _, v := range []velocity.Value{
		velocity.Stars, velocity.Forks, velocity.Watchers, velocity.Discussions, velocity.Releases,
		velocity.ClosedIssues, velocity.MergedPRs, velocity.ClosedPRs,
	} {
		fallen := func(before, now *velocity.Point) bool {
			return known(v, before, now) && velocity.Collapsed(before.Values[v], now.Values[v])
		}
		if fallen(c.before, c.now) && !c.quiet(fallen) {
			now, before := float64(c.now.Values[v]), float64(c.before.Values[v])
			s := c.raise(signal.CounterFallen)
			measured(s, names[v], "", now, &before)
			s.Say("%s has %.0f %s, %.0f at the reading before", c.row.NameWithOwner, now, strings.ReplaceAll(names[v], "_", " "), before)
		}
	}
}

func known(v velocity.Value, points ...*velocity.Point) bool {
	return !slices.ContainsFunc(points, func(p *velocity.Point) bool { return p.Values[v] == velocity.Unobserved })
}

// named raises what follows from another name than that of the observation before.
func (c *course) named(before *event.RepoObserved) {
	if strings.EqualFold(before.Owner, c.row.Owner) {
		c.raise(signal.Renamed).Say("%s is now named %s", before.NameWithOwner, c.row.NameWithOwner)
		return
	}
	c.raise(signal.Transferred).Say("%s is now %s", before.NameWithOwner, c.row.NameWithOwner)
}
