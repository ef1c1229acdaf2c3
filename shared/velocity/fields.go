package velocity

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
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

// Youngest is how old the base of a change at least is: the length less the slack.
func (w Window) Youngest() time.Duration { return w.Length - w.slack }

// Windows lists the windows by Span.
func Windows() [spans]Window {
	return [spans]Window{
		{"1h", time.Hour, 15 * time.Minute},
		{"24h", 24 * time.Hour, time.Hour},
		{"7d", 7 * 24 * time.Hour, time.Hour},
		{"30d", 30 * 24 * time.Hour, time.Hour},
	}
}

// Value is one of the numbers that a Point carries.
type Value int

// The values: first the counters.
const (
	Stars Value = iota
	Forks
	Watchers
	OpenIssues
	ClosedIssues
	OpenPRs
	MergedPRs
	ClosedPRs
	Discussions
	Releases
	CommitsTotal
	AssignableUsers
	counters // how many have deltas
)

// Then what else of the past is needed.
const (
	PushedAt   = counters + iota // ms since 1970
	ReleasedAt                   // ms since 1970
	Name                         // a hash of name_with_owner
	Branch                       // a hash of the default branch
	Archived                     // 1 if it is, else 0
	values
)

// value is the definition of a Value.
type value struct {
	name string // of a counter, that of its field
	// number names it in a stored History. It is below 64 and never given to
	// another value; a new one takes the next.
	number uint8
	of     func(*repo.Observation) *int64 // nil when it was not observed
}

// definitions lists the values.
func definitions() [values]value {
	type o = repo.Observation
	return [...]value{
		Stars:           {"stars", 0, func(r *o) *int64 { return &r.Stars }},
		Forks:           {"forks", 1, func(r *o) *int64 { return r.Forks }},
		Watchers:        {"watchers", 2, func(r *o) *int64 { return r.Watchers }},
		OpenIssues:      {"open_issues", 3, func(r *o) *int64 { return r.OpenIssues }},
		ClosedIssues:    {"closed_issues", 4, func(r *o) *int64 { return r.ClosedIssues }},
		OpenPRs:         {"open_prs", 5, func(r *o) *int64 { return r.OpenPRs }},
		MergedPRs:       {"merged_prs", 6, func(r *o) *int64 { return r.MergedPRs }},
		ClosedPRs:       {"closed_prs", 7, func(r *o) *int64 { return r.ClosedPRs }},
		Discussions:     {"discussions", 8, func(r *o) *int64 { return r.Discussions }},
		Releases:        {"releases", 9, func(r *o) *int64 { return r.Releases }},
		CommitsTotal:    {"commits_total", 10, func(r *o) *int64 { return r.CommitsTotal }},
		AssignableUsers: {"assignable_users", 15, func(r *o) *int64 { return r.AssignableUsers }},
		PushedAt:        {"pushed_at", 11, func(r *o) *int64 { return millis(r.PushedAt) }},
		ReleasedAt:      {"released_at", 12, func(r *o) *int64 { return millis(r.LatestReleaseAt) }},
		Name:            {"name", 13, func(r *o) *int64 { return hashed(&r.NameWithOwner) }},
		Branch:          {"branch", 14, func(r *o) *int64 { return hashed(r.DefaultBranch) }},
		Archived:        {"archived", 16, func(r *o) *int64 { return oneIf(r.IsArchived) }},
	}
}

func millis(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

func oneIf(is bool) *int64 {
	if is {
		return new(int64(1))
	}
	return new(int64(0))
}

// hashed shortens a text that is only ever compared with itself.
func hashed(text *string) *int64 {
	if text == nil {
		return nil
	}
	h := int64(xxhash.Sum64String(*text) >> 1) // never Unobserved
	return &h
}

// Counters lists the counters that have velocities, by field name.
func Counters() (names [counters]string) {
	for v, d := range definitions() {
		if Value(v) < counters {
			names[v] = d.name
		}
	}
	return names
}

// Field is one field of Velocities.
type Field int

// The fields: first when the base of each span was observed.
const (
	baseAt1h Field = iota
	baseAt24h
	baseAt7d
	baseAt30d
	deltas // then the delta of each counter over each span
)

// derived begins the fields that are neither.
const derived = deltas + Field(counters)*Field(spans)

// The derived fields.
const (
	starsAcceleration24h = derived + iota
	starsAcceleration7d
	starsAcceleration30d
	issuesOpened24h
	issuesOpened7d
	issuesOpened30d
	issueClosureRatio24h
	issueClosureRatio7d
	issueClosureRatio30d
	backlogIndex24h
	backlogIndex7d
	backlogIndex30d
	prsOpened24h
	prsOpened7d
	prsOpened30d
	prAcceptanceRatio24h
	prAcceptanceRatio7d
	prAcceptanceRatio30d
	activeDays7d
	activeDays30d
	observedDays7d
	observedDays30d
	CommitsPerMergedPR       // over 30 days
	CommitsPerAssignableUser // over 30 days
	ReleasesPerWeek          // over 30 days
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
func BaseAt(s Span) Field {
	return [spans]Field{Hour: baseAt1h, Day: baseAt24h, Week: baseAt7d, Month: baseAt30d}[s]
}

// Delta is the net change of a counter over a span.
func Delta(c Value, s Span) Field { return deltas + Field(c)*Field(spans) + Field(s) }

// StarsAcceleration is known over a day, a week and a month, as are the next five.
func StarsAcceleration(s Span) Field {
	return fromDay(s, starsAcceleration24h, starsAcceleration7d, starsAcceleration30d)
}

// IssuesOpened is the count of issues opened over a span.
func IssuesOpened(s Span) Field { return fromDay(s, issuesOpened24h, issuesOpened7d, issuesOpened30d) }

// IssueClosureRatio is issues closed over issues open.
func IssueClosureRatio(s Span) Field {
	return fromDay(s, issueClosureRatio24h, issueClosureRatio7d, issueClosureRatio30d)
}

// BacklogIndex is issues closed over issues opened.
func BacklogIndex(s Span) Field { return fromDay(s, backlogIndex24h, backlogIndex7d, backlogIndex30d) }

// PRsOpened is the count of pull requests opened over a span.
func PRsOpened(s Span) Field { return fromDay(s, prsOpened24h, prsOpened7d, prsOpened30d) }

// PRAcceptanceRatio is pull requests merged over those decided.
func PRAcceptanceRatio(s Span) Field {
	return fromDay(s, prAcceptanceRatio24h, prAcceptanceRatio7d, prAcceptanceRatio30d)
}

// ActiveDays is known over a week and a month, as is ObservedDays.
func ActiveDays(s Span) Field { return fromWeek(s, activeDays7d, activeDays30d) }

// ObservedDays is the count of days with a reading.
func ObservedDays(s Span) Field { return fromWeek(s, observedDays7d, observedDays30d) }

func fromDay(s Span, day, week, month Field) Field {
	if s == Day {
		return day
	}
	return fromWeek(s, week, month)
}

func fromWeek(s Span, week, month Field) Field {
	switch s {
	case Week:
		return week
	case Month:
		return month
	}
	panic(fmt.Sprintf("velocity: the field has no span %d", s))
}

// Definitions lists all fields, by Field. Each may be null.
func Definitions() [fields]field.Definition {
	var out [fields]field.Definition
	for s, w := range Windows() {
		out[BaseAt(Span(s))] = field.Definition{Name: "base_at_" + w.Name, Kind: field.Time, Unit: "time", Text: baseText(w)}
		for c, name := range Counters() {
			out[Delta(Value(c), Span(s))] = field.Definition{Name: name + "_delta_" + w.Name, Kind: field.Int, Unit: "count", Text: deltaText(name, w)}
		}
	}
	for _, d := range derivedFields() {
		out[d.field] = field.Definition{Name: d.name, Kind: d.kind, Unit: d.unit, Text: d.text}
	}
	for f := range out {
		out[f].Null = true
	}
	return out
}

// Rate is a figure that no record and no store holds, because it follows from
// what they hold: a delta over the days that really lie between the two
// readings. Whoever reads computes it.
type Rate struct {
	field.Definition
	Delta, Base Field
}

// Rates lists the rates, one of each delta.
func Rates() []Rate {
	var out []Rate
	for c, name := range Counters() {
		for s, w := range Windows() {
			out = append(out, Rate{
				field.Definition{Name: name + "_per_day_" + w.Name, Kind: field.Float, Null: true, Unit: "count/day", Text: rateText(name, w)},
				Delta(Value(c), Span(s)), BaseAt(Span(s)),
			})
		}
	}
	return out
}

// Of is the rate of an observation made at a time, unknown where its delta is.
func (r Rate) Of(v *Velocities, observedAt time.Time) *float64 {
	delta, base := v.Int(r.Delta), v.Int(r.Base)
	if delta == nil || base == nil {
		return nil
	}
	perDay := float64(*delta) / (float64(observedAt.UnixMilli()-*base) / float64(day))
	return &perDay
}

type derivedField struct {
	field Field
	name  string
	kind  field.Kind
	unit  string
	text  string
}

// derivedFields defines them.
func derivedFields() []derivedField {
	return []derivedField{
		{starsAcceleration24h, "stars_acceleration_24h", field.Float, "stars/day²", accelerationText},
		{starsAcceleration7d, "stars_acceleration_7d", field.Float, "stars/day²", accelerationText},
		{starsAcceleration30d, "stars_acceleration_30d", field.Float, "stars/day²", accelerationText},
		{issuesOpened24h, "issues_opened_24h", field.Int, "issues", issuesOpenedText},
		{issuesOpened7d, "issues_opened_7d", field.Int, "issues", issuesOpenedText},
		{issuesOpened30d, "issues_opened_30d", field.Int, "issues", issuesOpenedText},
		{issueClosureRatio24h, "issue_closure_ratio_24h", field.Float, "ratio", closureText},
		{issueClosureRatio7d, "issue_closure_ratio_7d", field.Float, "ratio", closureText},
		{issueClosureRatio30d, "issue_closure_ratio_30d", field.Float, "ratio", closureText},
		{backlogIndex24h, "backlog_index_24h", field.Float, "ratio", backlogText},
		{backlogIndex7d, "backlog_index_7d", field.Float, "ratio", backlogText},
		{backlogIndex30d, "backlog_index_30d", field.Float, "ratio", backlogText},
		{prsOpened24h, "prs_opened_24h", field.Int, "pull requests", prsOpenedText},
		{prsOpened7d, "prs_opened_7d", field.Int, "pull requests", prsOpenedText},
		{prsOpened30d, "prs_opened_30d", field.Int, "pull requests", prsOpenedText},
		{prAcceptanceRatio24h, "pr_acceptance_ratio_24h", field.Float, "0-1", acceptanceText},
		{prAcceptanceRatio7d, "pr_acceptance_ratio_7d", field.Float, "0-1", acceptanceText},
		{prAcceptanceRatio30d, "pr_acceptance_ratio_30d", field.Float, "0-1", acceptanceText},
		{activeDays7d, "active_days_7d", field.Int, "days", activeText},
		{activeDays30d, "active_days_30d", field.Int, "days", activeText},
		{observedDays7d, "observed_days_7d", field.Int, "days", observedText},
		{observedDays30d, "observed_days_30d", field.Int, "days", observedText},
		{CommitsPerMergedPR, "commits_per_merged_pr_30d", field.Float, "commits/pull request", "commits_total_delta_30d over merged_prs_delta_30d: commits on the default branch per merged pull request. " +
			"Near 1 where each is squashed; far more where commits come without one. Unknown when none was merged, or when commits were taken off."},
		{CommitsPerAssignableUser, "commits_per_assignable_user_30d", field.Float, "commits/person", "commits_total_delta_30d over assignable_users: commits on the default branch per person " +
			"who can be given work. Unknown when there is nobody, or when commits were taken off."},
		{ReleasesPerWeek, "releases_per_week_30d", field.Float, "releases/week", releasesText},
		{DaysSinceRelease, "days_since_release", field.Float, "days", "Time since the latest release was published."},
		{DaysSincePush, "days_since_push", field.Float, "days", "Time since the last push to any branch."},
		{BurstZ, "burst_z", field.Float, "standard deviations", zText(burstDays)},
		{IsBurst, "is_burst", field.Bool, "flag", fmt.Sprintf("burst_z is outside ±%g: the Bollinger band of %d days.", burstBand, burstDays)},
		{BreakoutZ, "breakout_z", field.Float, "standard deviations", zText(breakoutDays)},
		{IsBreakout, "is_breakout", field.Bool, "flag", breakoutText()},
		{IsSuspicious, "is_suspicious", field.Bool, "flag", suspiciousText()},
		{Milestone, "milestone", field.Int, "stars", milestoneText},
		{IsRenamed, "is_renamed", field.Bool, "flag", "owner/name differs from the reading before: renamed or transferred. The past is kept, by the repository's id."},
		{IsBranchChanged, "is_branch_changed", field.Bool, "flag", "The default branch differs from the reading before. Its commit count is another branch's."},
		{IsHistoryRewritten, "is_history_rewritten", field.Bool, "flag", "Fewer commits than at the reading before, on the same default branch: a force push. Not work undone."},
		{HealthActivity, "health_activity", field.Float, "0-100", "100 · active days / observed days of the last 30."},
		{HealthMaintenance, "health_maintenance", field.Float, "0-100", "By days since the last push: up to 7 is 100, 30 is 75, 90 is 50, 180 is 25, more is 0."},
		{HealthClosure, "health_closure", field.Float, "0-100", "100 · the backlog index of 30 days, at most 100: issues are closed as fast as they come."},
		{HealthAcceptance, "health_acceptance", field.Float, "0-100", "100 · the acceptance ratio of pull requests of 30 days."},
		{HealthRelease, "health_release", field.Float, "0-100", "By days since the latest release: up to 30 is 100, 90 is 75, 180 is 50, 365 is 25, more is 0."},
		{HealthScore, "health_score", field.Float, "0-100", "The mean of the health parts that are known, unknown with fewer than two. Read it beside its parts. The thresholds are ours."},
		{HealthParts, "health_parts", field.Int, "count", "How many of the five health parts are known."},
	}
}

// Velocities are all that is computed of one observation, field by field. A
// field that is absent is null in every store: there was nothing to compare
// with, or a counter was not observed. It never stands for zero.
type Velocities struct {
	bits [fields]uint64
	set  [(fields + 63) / 64]uint64
}

// Has says whether a field is known.
func (v *Velocities) Has(f Field) bool { return v.set[f/64]&(1<<(f%64)) != 0 }

// Int is an Int, or a Time in ms since 1970, or nil.
func (v *Velocities) Int(f Field) *int64 {
	if !v.Has(f) {
		return nil
	}
	n := int64(v.bits[f])
	return &n
}

// Float is a Float, or nil.
func (v *Velocities) Float(f Field) *float64 {
	if !v.Has(f) {
		return nil
	}
	x := math.Float64frombits(v.bits[f])
	return &x
}

// Time is a Time in UTC, or nil.
func (v *Velocities) Time(f Field) *time.Time {
	if !v.Has(f) {
		return nil
	}
	t := time.UnixMilli(int64(v.bits[f])).UTC()
	return &t
}

// Bool is a Bool, or nil.
func (v *Velocities) Bool(f Field) *bool {
	if !v.Has(f) {
		return nil
	}
	b := v.bits[f] != 0
	return &b
}

func (v *Velocities) put(f Field, bits uint64) {
	v.bits[f] = bits
	v.set[f/64] |= 1 << (f % 64)
}

// SetInt sets an Int, or a Time in ms since 1970.
func (v *Velocities) SetInt(f Field, n int64) { v.put(f, uint64(n)) }

// SetFloat sets a Float. What is no number is left absent: no two stores hold it
// alike.
func (v *Velocities) SetFloat(f Field, x float64) {
	if !math.IsNaN(x) && !math.IsInf(x, 0) {
		v.put(f, math.Float64bits(x))
	}
}

// SetBool sets a Bool.
func (v *Velocities) SetBool(f Field, b bool) {
	var bit uint64
	if b {
		bit = 1
	}
	v.put(f, bit)
}

// AppendBits appends all fields: two of equal bits are equal. It is no form to
// store.
func (v *Velocities) AppendBits(to []byte) []byte {
	for _, word := range v.set {
		to = binary.LittleEndian.AppendUint64(to, word)
	}
	for _, word := range v.bits {
		to = binary.LittleEndian.AppendUint64(to, word)
	}
	return to
}

// Values are the fields by name, for JSON: a Time as text in RFC 3339.
func (v *Velocities) Values() map[string]any {
	out := make(map[string]any, fields)
	for i, d := range Definitions() {
		f := Field(i)
		if !v.Has(f) {
			out[d.Name] = nil
			continue
		}
		switch d.Kind {
		case field.Int:
			out[d.Name] = *v.Int(f)
		case field.Float:
			out[d.Name] = *v.Float(f)
		case field.Time:
			out[d.Name] = *v.Time(f)
		case field.Bool:
			out[d.Name] = *v.Bool(f)
		}
	}
	return out
}

// Set takes fields by name from their JSON form. It removes those it knows from
// the map, and the rates, which older programs wrote with them.
func (v *Velocities) Set(from map[string]json.RawMessage) error {
	for i, d := range Definitions() {
		text, ok := from[d.Name]
		delete(from, d.Name)
		if !ok || string(text) == "null" {
			continue
		}
		if err := v.parse(Field(i), d.Kind, text); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	for _, r := range Rates() {
		delete(from, r.Name)
	}
	return nil
}

func (v *Velocities) parse(f Field, kind field.Kind, text json.RawMessage) error {
	var n int64
	var x float64
	var t time.Time
	var b bool
	var err error
	switch kind {
	case field.Int:
		if err = json.Unmarshal(text, &n); err == nil {
			v.SetInt(f, n)
		}
	case field.Float:
		if err = json.Unmarshal(text, &x); err == nil {
			v.SetFloat(f, x)
		}
	case field.Time:
		if err = json.Unmarshal(text, &t); err == nil {
			v.SetInt(f, t.UnixMilli())
		}
	case field.Bool:
		if err = json.Unmarshal(text, &b); err == nil {
			v.SetBool(f, b)
		}
	}
	return err
}
