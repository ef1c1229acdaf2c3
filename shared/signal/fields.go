package signal

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/field"
)

// Fields lists the fields of a signal, in the order of the schema. Each has its one
// definition here.
func Fields() []field.Field[Signal] {
	type s = Signal
	return []field.Field[s]{
		field.Always("signal_id", "text", "What a repeat is known by: kind/repo_id@observed_at in ms, or kind/owner@…; /metric follows in a counter_fallen.", func(r *s) *string { return &r.ID }),
		field.Always("kind", "text", "One of the kinds in docs/signals.md.", func(r *s) *string { return &r.Kind }),
		field.Always("severity", "text", "info, notice, warning or critical: that of the kind.", func(r *s) *string { return &r.Severity }),
		field.Maybe("repo_id", "id", "GitHub's database id of the repository; null if the signal is of an owner.", func(r *s) **int64 { return &r.RepoID }),
		field.Maybe("name_with_owner", "text", "owner/name of the repository, as the evidence has it.", func(r *s) **string { return &r.NameWithOwner }),
		field.Always("owner", "text", "Organisation or person on GitHub.", func(r *s) *string { return &r.Owner }),
		field.Maybe("company", "text", "The parent company, when known.", func(r *s) **string { return &r.Company }),
		field.Always("observed_at", "time", "When its evidence was observed, UTC.", func(r *s) *time.Time { return &r.ObservedAt }),
		field.Maybe("metric", "text", "The field that value is of.", func(r *s) **string { return &r.Metric }),
		field.Maybe("value", "as metric", "What was observed.", func(r *s) **float64 { return &r.Value }),
		field.Maybe("usual", "as metric", "What would have been usual, from the repository's own past, or what was there before.", func(r *s) **float64 { return &r.Usual }),
		field.Maybe("window", "text", "The time that value is measured over: 24h; null if since the reading before.", func(r *s) **string { return &r.Window }),
		field.Always("words", "text", "The same in one sentence. It quotes names from GitHub: a reader escapes it.", func(r *s) *string { return &r.Words }),
		field.Always("evidence", "text", "The id of the event that it follows from: that of a RepoObserved, or of an OwnerSwept.", func(r *s) *string { return &r.Evidence }),
	}
}
