package velocity

import (
	"fmt"
	"time"
)

// Span is a length of time over which a change is measured.
type Span int

// The spans, shortest first.
const (
	Hour Span = iota
	Day
	Week
	Month // 30 days
	spans
)

// Window is what a Span measures.
type Window struct {
	Name   string        // as in the field names: 1h, 24h, 7d, 30d
	Length time.Duration // the nominal length
	slack  time.Duration // how much younger than Length a base may be: sweeps jitter
}

// Windows lists the windows by Span.
func Windows() [spans]Window {
	return [spans]Window{
		{"1h", time.Hour, 15 * time.Minute},
		{"24h", 24 * time.Hour, time.Hour},
		{"7d", 7 * 24 * time.Hour, time.Hour},
		{"30d", 30 * 24 * time.Hour, time.Hour},
	}
}

// Field is one field of Velocities.
type Field int

// The fields: first the base of each span, then the delta and the rate of each
// counter over each span, then what is derived.
const (
	deltas  = Field(spans)
	derived = deltas + 2*Field(counters)*Field(spans)
)

// The derived fields. Those of three spans stand for a day, and are followed by
// those for a week and a month; those of two for a week, followed by a month.
const (
	starsAcceleration = derived + 3*iota
	issuesOpened
	issueClosureRatio
	backlogIndex
	prsOpened
	prAcceptanceRatio
	activeDays
	observedDays = activeDays + 2

	ReleasesPerWeek = observedDays + iota - 6
	DaysSinceRelease
	DaysSincePush
	BurstZ
	IsBurst
	BreakoutZ
	IsBreakout
	IsSuspicious
	Milestone
	IsRenamed
	IsBranchChanged
	IsHistoryRewritten
	HealthActivity
	HealthMaintenance
	HealthClosure
	HealthAcceptance
	HealthRelease
	HealthScore
	HealthParts
	fields
)

// Fields is how many fields there are.
const Fields = int(fields)

// BaseAt is when the base of a span was observed.
func BaseAt(s Span) Field { return Field(s) }

// Delta is the net change of a counter over a span.
func Delta(c Value, s Span) Field { return deltas + 2*(Field(c)*Field(spans)+Field(s)) }

// PerDay is the rate of a counter over a span.
func PerDay(c Value, s Span) Field { return Delta(c, s) + 1 }

// StarsAcceleration is known over a day, a week and a month, as are the next five.
func StarsAcceleration(s Span) Field { return starsAcceleration + Field(s-Day) }

// IssuesOpened is the count of issues opened over a span.
func IssuesOpened(s Span) Field { return issuesOpened + Field(s-Day) }

// IssueClosureRatio is issues closed over issues open.
func IssueClosureRatio(s Span) Field { return issueClosureRatio + Field(s-Day) }

// BacklogIndex is issues closed over issues opened.
func BacklogIndex(s Span) Field { return backlogIndex + Field(s-Day) }

// PRsOpened is the count of pull requests opened over a span.
func PRsOpened(s Span) Field { return prsOpened + Field(s-Day) }

// PRAcceptanceRatio is pull requests merged over those decided.
func PRAcceptanceRatio(s Span) Field { return prAcceptanceRatio + Field(s-Day) }

// ActiveDays is known over a week and a month, as is ObservedDays.
func ActiveDays(s Span) Field { return activeDays + Field(s-Week) }

// ObservedDays is the count of days with a reading.
func ObservedDays(s Span) Field { return observedDays + Field(s-Week) }

// Kind is what the field holds.
func (f Field) Kind() Kind {
	switch {
	case f < deltas:
		return Moment
	case f < derived:
		if (f-deltas)%2 == 0 {
			return Count
		}
		return Rate
	}
	switch f {
	case IsBurst, IsBreakout, IsSuspicious, IsRenamed, IsBranchChanged, IsHistoryRewritten:
		return Flag
	case Milestone, HealthParts:
		return Count
	}
	if f >= issuesOpened && f < issueClosureRatio || f >= prsOpened && f < prAcceptanceRatio || f >= activeDays && f < ReleasesPerWeek {
		return Count
	}
	return Rate
}

// Definition says what a field is, in the words that the documents, the
// terminal and the dashboards use.
type Definition struct {
	Name string
	Unit string
	Text string
}

// Definitions lists all fields, by Field.
func Definitions() [fields]Definition {
	var out [fields]Definition
	for s, w := range Windows() {
		out[BaseAt(Span(s))] = Definition{"base_at_" + w.Name, "time", baseText(w)}
		for c, name := range Counters() {
			out[Delta(Value(c), Span(s))] = Definition{name + "_delta_" + w.Name, "count", deltaText(name, w)}
			out[PerDay(Value(c), Span(s))] = Definition{name + "_per_day_" + w.Name, "count/day", rateText(name, w)}
		}
	}
	for s := Day; s <= Month; s++ {
		w := Windows()[s].Name
		out[StarsAcceleration(s)] = Definition{"stars_acceleration_" + w, "stars/day²", accelerationText}
		out[IssuesOpened(s)] = Definition{"issues_opened_" + w, "issues", issuesOpenedText}
		out[IssueClosureRatio(s)] = Definition{"issue_closure_ratio_" + w, "ratio", closureText}
		out[BacklogIndex(s)] = Definition{"backlog_index_" + w, "ratio", backlogText}
		out[PRsOpened(s)] = Definition{"prs_opened_" + w, "pull requests", prsOpenedText}
		out[PRAcceptanceRatio(s)] = Definition{"pr_acceptance_ratio_" + w, "0-1", acceptanceText}
		if s >= Week {
			out[ActiveDays(s)] = Definition{"active_days_" + w, "days", activeText}
			out[ObservedDays(s)] = Definition{"observed_days_" + w, "days", observedText}
		}
	}
	out[ReleasesPerWeek] = Definition{"releases_per_week_30d", "releases/week", releasesText}
	out[DaysSinceRelease] = Definition{"days_since_release", "days", "Time since the latest release was published."}
	out[DaysSincePush] = Definition{"days_since_push", "days", "Time since the last push to any branch."}
	out[BurstZ] = Definition{"burst_z", "standard deviations", zText(burstDays)}
	out[IsBurst] = Definition{"is_burst", "flag", fmt.Sprintf("burst_z is outside ±%g: the Bollinger band of %d days.", burstBand, burstDays)}
	out[BreakoutZ] = Definition{"breakout_z", "standard deviations", zText(breakoutDays)}
	out[IsBreakout] = Definition{"is_breakout", "flag", breakoutText()}
	out[IsSuspicious] = Definition{"is_suspicious", "flag", suspiciousText()}
	out[Milestone] = Definition{"milestone", "stars", milestoneText}
	out[IsRenamed] = Definition{"is_renamed", "flag", "owner/name differs from the reading before: renamed or transferred. The past is kept, by the repository's id."}
	out[IsBranchChanged] = Definition{"is_branch_changed", "flag", "The default branch differs from the reading before. Its commit count is another branch's."}
	out[IsHistoryRewritten] = Definition{"is_history_rewritten", "flag", "Fewer commits than at the reading before, on the same default branch: a force push. Not work undone."}
	for f, part := range map[Field][2]string{
		HealthActivity:    {"activity", "100 · active days / observed days of the last 30."},
		HealthMaintenance: {"maintenance", "By days since the last push: up to 7 is 100, 30 is 75, 90 is 50, 180 is 25, more is 0."},
		HealthClosure:     {"closure", "100 · the backlog index of 30 days, at most 100: issues are closed as fast as they come."},
		HealthAcceptance:  {"acceptance", "100 · the acceptance ratio of pull requests of 30 days."},
		HealthRelease:     {"release", "By days since the latest release: up to 30 is 100, 90 is 75, 180 is 50, 365 is 25, more is 0."},
	} {
		out[f] = Definition{"health_" + part[0], "0-100", part[1]}
	}
	out[HealthScore] = Definition{"health_score", "0-100", "The mean of the health parts that are known, unknown with fewer than two. Read it beside its parts. The thresholds are ours."}
	out[HealthParts] = Definition{"health_parts", "count", "How many of the five health parts are known."}
	return out
}
