package signal

import "fmt"

// The kinds.
const (
	Breakout         = "breakout"
	Burst            = "burst"
	SuspiciousSpike  = "suspicious_spike"
	Milestone        = "milestone"
	Release          = "release"
	Renamed          = "renamed"
	Transferred      = "transferred"
	Archived         = "archived"
	HistoryRewritten = "history_rewritten"
	CounterFallen    = "counter_fallen"
	RepositoryNew    = "repository_new"
	RepositoryGone   = "repository_gone"
	OwnerFailed      = "owner_failed"
	SweepIncomplete  = "sweep_incomplete"
	QualityFailed    = "quality_failed"
	QualityDoubtful  = "quality_doubtful"
	HotIsNotCold     = "hot_is_not_cold"
	QualityRestored  = "quality_restored"

	DataLate           = "data_late"
	CompletenessLow    = "completeness_low"
	LagGrowing         = "lag_growing"
	StoreDown          = "store_down"
	ConnectFailed      = "connect_failed"
	DeadLettersWaiting = "dead_letters_waiting"
	EventCoverageLow   = "event_coverage_low"
	DiskLow            = "disk_low"
	QuotaLow           = "quota_low"
	AlertCleared       = "alert_cleared"
)

// Installation is the owner of signals that are of the installation itself. No login on
// GitHub has parentheses.
const Installation = "(m7pulse)"

// Thresholds. Those of is_breakout and is_suspicious (docs/metrics.md) must be met too:
// they mark what is worth a look, a signal what is worth an interruption.
const (
	BreakoutZ = 5.0 // standard deviations
	BurstZ    = 5.0
	LeastGain = 10 // stars in a day
	// QuietDays is how long a repository is quiet about what lasts, or comes and goes: as
	// long as one of its readings of these days shows it. A history holds the last reading
	// of each hour for 49 hours, and of each day.
	QuietDays = 7
)

// Definition is what a kind means.
type Definition struct {
	Kind     string
	Severity string
	Function string // that emits it
	Text     string // with its threshold
}

// Kinds lists the kinds.
func Kinds() []Definition {
	once := fmt.Sprintf(" Not again as long as a reading of the last %d days that the history holds shows it.", QuietDays)
	return []Definition{
		{Breakout, Notice, "aggregate", fmt.Sprintf("is_breakout, with a breakout_z of %g or more: the stars of 24 h are far above those of a day in the 30 days before. Not where suspicious_spike is.", BreakoutZ) + once},
		{Burst, Info, "aggregate", fmt.Sprintf("burst_z beyond ±%g, with %d stars or more gained or lost in 24 h: far from a day of the 7 days before. Not beside a breakout or a suspicious_spike.", BurstZ, LeastGain) + once},
		{SuspiciousSpike, Warning, "aggregate", "A breakout by the definition above that nothing else follows: is_suspicious. Not a collapse of stars, which is a counter_fallen." + once},
		{Milestone, Info, "aggregate", "A milestone was passed, for the first time in the 61 days that a history holds."},
		{Release, Info, "aggregate", "latest_release_at is later than at any reading before; or the first release of a repository."},
		{Renamed, Info, "aggregate", "The name differs from the reading before, the owner does not."},
		{Transferred, Notice, "aggregate", "The owner differs from the reading before, whatever the case of its letters: transferred, or the owner was renamed."},
		{Archived, Notice, "aggregate", "is_archived, and was not at the reading before."},
		{HistoryRewritten, Notice, "aggregate", "is_history_rewritten: fewer commits than at the reading before, on the same default branch." + once},
		{CounterFallen, Warning, "aggregate", "A counter that seldom falls has lost more than half since the reading before, and 10 or more: stars, forks, watchers, discussions, releases, closed issues, merged or closed pull requests. A wrong answer of GitHub, a purge, or a feature switched off." + once},
		{RepositoryNew, Info, "fetch-org", "A sweep has seen it, and no earlier sweep of its owner had. Not before one sweep of the owner was complete, with the same repositories and patterns listed: so neither the first sweep nor another choice raises any."},
		{RepositoryGone, Warning, "fetch-org", "Earlier sweeps saw it; GitHub answers by its id that it is not there, or no longer this owner's: deleted, made private, or moved."},
		{OwnerFailed, Critical, "fetch-org", "A sweep of the owner ended as failed, since GitHub refused every token, or as unknown_owner. Not if the sweep before ended the same."},
		{SweepIncomplete, Warning, "fetch-org", "A sweep of the owner ended as incomplete, for the reason in the ledger. Not if the sweep before did too, and not because the owner was removed."},
		{QualityFailed, Critical, "quality", "A critical expectation of the data does not hold (infra/quality/suites; metric says which), and did at the run of pulse quality before. Its owner is (m7pulse)."},
		{QualityDoubtful, Warning, "quality", "The same of an expectation whose severity is warning."},
		{HotIsNotCold, Critical, "quality", "ClickHouse and Iceberg do not have the same observations of each day, or Iceberg has some that were not processed."},
		{QualityRestored, Info, "quality", "An expectation that did not hold does again."},
		{DataLate, Critical, "watch", "A sweep was due, and a minute later nothing that was observed since is stored."},
		{CompletenessLow, Warning, "watch", "The newest sweeps saw less than 99 of 100 repositories that GitHub counts."},
		{LagGrowing, Warning, "watch", "A record waits for longer than 5 minutes for a function to store it."},
		{StoreDown, Critical, "watch", "Kafka, Redis, ClickHouse or Iceberg's catalog does not answer. While it is Kafka, no signal can be written."},
		{ConnectFailed, Critical, "watch", "A connector of Kafka Connect or one of its tasks has failed, or the worker does not answer: nothing more is archived."},
		{DeadLettersWaiting, Warning, "watch", "Records that could not be processed wait."},
		{EventCoverageLow, Warning, "watch", "Less than half of the events that the counters say there were are stored."},
		{DiskLow, Warning, "watch", "A disk has less than a twentieth of its room left."},
		{QuotaLow, Warning, "watch", "A GitHub user has less than 2 of 100 points of the hour left."},
		{AlertCleared, Info, "watch", "An alert of the watch fires no longer: metric says which figure."},
	}
}

func definition(kind string) (Definition, bool) {
	for _, d := range Kinds() {
		if d.Kind == kind {
			return d, true
		}
	}
	return Definition{}, false
}
