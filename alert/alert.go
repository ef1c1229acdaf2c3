// Package alert says what must not go on unseen in an installation, and watches for it:
// each alert has one definition, from which its rule for Prometheus, its signal and its
// heading in the runbook follow.
package alert

import (
	"fmt"
	"strings"

	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// Definition is what an alert is.
type Definition struct {
	Kind      string  // of its signal, whose severity is the alert's
	Figure    string  // what is measured; in Prometheus m7pulse_watch_ and this
	Help      string  // the figure in a sentence, with its unit
	Below     bool    // it fires below the threshold, else above
	Threshold float64 // of the figure, in its unit
	// RaisedBy is the function or command that raises the signal where that is not the
	// watch: there it is an alert of Prometheus only.
	RaisedBy string
	Means    string
	Check    string
	Cure     string
}

// Definitions lists the alerts. The figures are read once a minute, so what an alert
// says is a minute old at most.
func Definitions() []Definition {
	return []Definition{
		{
			Kind: signal.DataLate, Figure: "late_seconds", Help: "Seconds since the first tick of which no observation is stored, 0 if none is missing.", Threshold: 60,
			Means: "A sweep was due, and nothing of it has arrived in ClickHouse a minute later: the tick, fetch-org, GitHub, aggregate or the sink stands still.",
			Check: "`pulse status`: which function has lag, which fails, when the next tick is; `lag_growing` beside it says that it is not the tick.",
			Cure:  "`pulse tick` if the tick was lost; else the function's own line below.",
		},
		{
			Kind: signal.OwnerFailed, Figure: "owners_failed", Help: "Owners whose newest sweep failed, or who are unknown.", Threshold: 0, RaisedBy: "fetch-org",
			Means: "The last sweep of an owner has failed.", Check: "`pulse status`: failed sweeps.", Cure: "[an owner cannot be fetched](#an-owner-cannot-be-fetched).",
		},
		{
			Kind: signal.SweepIncomplete, Figure: "owners_incomplete", Help: "Owners whose newest sweep is incomplete.", Threshold: 0, RaisedBy: "fetch-org",
			Means: "The last sweep of an owner has ended before it saw everything.", Check: "`reason` of its ledger line: `pulse signals --kind sweep_incomplete`.", Cure: "none for one; for many, fewer owners or more tokens: `pulse owners forecast`.",
		},
		{
			Kind: signal.CompletenessLow, Figure: "completeness_ratio", Help: "Repositories seen by the newest sweep of each owner, of those that GitHub counts.", Below: true, Threshold: 0.99,
			Means: "More than 1 of 100 repositories was not seen in the newest sweeps.", Check: "the ledger, which says of whom: `GET /api/v1/sweeps`.", Cure: "as for an incomplete sweep; the next sweep closes the gap.",
		},
		{
			Kind: signal.LagGrowing, Figure: "lag_seconds", Help: "Age of the oldest record that a function has not stored, in seconds, of the function that is most behind.", Threshold: 300,
			Means: "Records wait for longer than a function that keeps up lets them: it stands still, or more comes in than it can do.", Check: "`pulse status` and the log of the function that the signal names.", Cure: "`pulse wake FUNCTION`; for a backlog `pulse drain`.",
		},
		{
			Kind: signal.StoreDown, Figure: "stores_down", Help: "Stores that do not answer, of Kafka, Redis, ClickHouse and Iceberg's catalog.", Threshold: 0,
			Means: "A store does not answer. The breaker of its sink opens after three failures, and bells are answered 503; nothing is lost.", Check: "`pulse doctor`.", Cure: "the store. All goes on by itself.",
		},
		{
			Kind: signal.ConnectFailed, Figure: "connect_failures", Help: "Connectors of Kafka Connect and tasks that have failed, 1 if the worker does not answer; where CONNECT_URL names one.", Threshold: 0,
			Means: "Kafka Connect has stopped to archive. A task that has failed stays so until somebody restarts it; what it has not archived waits in Kafka for as long as its topics keep it.",
			Check: "`curl $CONNECT_URL/connectors/archive/status`, which has the stack trace.", Cure: "what the trace names, then `curl -X POST \"$CONNECT_URL/connectors/archive/restart?includeTasks=true&onlyFailed=true\"`.",
		},
		{
			Kind: signal.DeadLettersWaiting, Figure: "dead_letters", Help: "Dead letters that wait.", Threshold: 0,
			Means: "A record could not be processed.", Check: "`pulse dlq list`, which says why.", Cure: "the cause, then `pulse dlq retry`; or `pulse dlq drop`.",
		},
		{
			Kind: signal.HotIsNotCold, Figure: "hot_cold_differences", Help: "Expectations on both stores that did not hold when pulse quality checked them last.", Threshold: 0, RaisedBy: "quality",
			Means: "ClickHouse and Iceberg do not have the same.", Check: "`pulse audit --wait`, which names rows.", Cure: "`pulse rebuild hot --from cold`.",
		},
		{
			Kind: signal.QualityFailed, Figure: "quality_failures", Help: "Critical expectations that did not hold when pulse quality checked them last.", Threshold: 0, RaisedBy: "quality",
			Means: "What is stored cannot be true.", Check: "the page of `pulse quality`, with examples.", Cure: "what made it: `pulse reprocess` computes days again.",
		},
		{
			Kind: signal.EventCoverageLow, Figure: "event_coverage_failures", Help: "1 where pulse quality found, when it checked it last, less than half of the events that the counters say there were.", Threshold: 0,
			Means: "GitHub's feeds lose more than half of the events, or they are read too seldom.", Check: "`pulse coverage`; fetch-events' log for `gap`.", Cure: "another user's token; what is lost on GitHub stays lost.",
		},
		{
			Kind: signal.DiskLow, Figure: "disk_free_ratio", Help: "Room left on the fullest disk of ClickHouse, and of the home of a local stack.", Below: true, Threshold: 0.05,
			Means: "A disk is nearly full.", Check: "`pulse doctor`: which.", Cure: "make room, or `pulse maintain`; at a full disk the stores refuse writes, and records wait in Kafka.",
		},
		{
			Kind: signal.QuotaLow, Figure: "quota_left_ratio", Help: "Points of the hour that the GitHub user with the fewest has left, of 5,000.", Below: true, Threshold: 0.02,
			Means: "A user of GitHub has nearly used up the hour: sweeps wait for the next.", Check: "`pulse owners forecast`.", Cure: "a token of another user, or fewer owners.",
		},
	}
}

// Fires says whether a figure is beyond the threshold.
func (d Definition) Fires(figure float64) bool {
	if d.Below {
		return figure < d.Threshold
	}
	return figure > d.Threshold
}

// Severity is that of the signal's kind.
func (d Definition) Severity() string { return signal.New(d.Kind).Severity }

// Metric is the figure's name in Prometheus.
func (d Definition) Metric() string { return "m7pulse_" + figures + d.Figure }

// Gauge is the figure as it is shown.
func (d Definition) Gauge(figure float64) serve.Gauge {
	return serve.Gauge{Name: figures + d.Figure, Help: d.Help, Value: figure}
}

// figures is how the names of what is measured begin.
const figures = "watch_"

// Rule is the expression of Prometheus that fires.
func (d Definition) Rule() string {
	op := ">"
	if d.Below {
		op = "<"
	}
	return fmt.Sprintf("%s %s %g", d.Metric(), op, d.Threshold)
}

// Rules is the file of Prometheus' rules.
func Rules() string {
	var b strings.Builder
	b.WriteString("# Alerts by the figures of pulse watch, whose /metrics Prometheus scrapes. Made of\n# alert.Definitions by `make fields`.\ngroups:\n  - name: m7pulse\n    rules:\n")
	rule := func(name, expression, wait, severity, summary, link string) {
		fmt.Fprintf(&b, "      - alert: %s\n        expr: %s\n        for: %s\n        labels:\n          severity: %s\n        annotations:\n          summary: %q\n          runbook_url: https://github.com/m7pulse/m7pulse/blob/main/docs/runbook.md#%s\n", name, expression, wait, severity, summary, link)
	}
	for _, d := range Definitions() {
		rule(d.Kind, d.Rule(), "0m", d.Severity(), d.Means, d.Kind)
	}
	rule("watch_silent", "absent(m7pulse_watch_stores_down)", "2m", signal.Critical, "Nothing watches: pulse watch is down, or is not scraped.", "watch_silent")
	// Not that it is open: every 10 s it is half-open for a try, as long as the store takes
	// to fail, and a scrape in that time would end the wait.
	rule("breaker_open", `min by (function) (m7pulse_breaker{state="closed"}) == 0`, "5m", signal.Warning, "The breaker before a store is open.", "m7pulse_breakerstateclosed--0-for-5-minutes")
	return b.String()
}

// Runbook is the part of the runbook that says what to do.
func Runbook() string {
	var b strings.Builder
	for _, d := range Definitions() {
		fmt.Fprintf(&b, "### %s\n\n- **Fires:** %s, when `%s`. Severity: %s.", d.Kind, d.Help, d.Rule(), d.Severity())
		if d.RaisedBy != "" {
			fmt.Fprintf(&b, " The signal is raised by %s.", d.RaisedBy)
		}
		fmt.Fprintf(&b, "\n- **Means:** %s\n- **Check:** %s\n- **Cure:** %s\n\n", d.Means, d.Check, d.Cure)
	}
	return strings.ReplaceAll(b.String(), ".,", ",")
}
