package event

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/field"
)

// StatementFields are what a processed observation has besides the fields of
// the observation and its velocities.
func StatementFields() []field.Field[RepoProcessed] {
	type p = RepoProcessed
	return []field.Field[p]{
		field.Always("processed_at", "time", "When the velocities were computed, UTC.", func(r *p) *time.Time { return &r.ProcessedAt }),
		field.Always("revision", "count", "number of observations of the repository known when this row was computed", func(r *p) *int64 { return &r.Revision }),
		field.Always("late", "flag", "a newer observation was known already", func(r *p) *bool { return &r.Late }),
	}
}

// SweptFields are the fields of a ledger line.
func SweptFields() []field.Field[OwnerSwept] {
	type s = OwnerSwept
	return []field.Field[s]{
		field.Always("sweep_id", "id", "The tick's time, truncated to the schedule.", func(r *s) *string { return &r.SweepID }),
		field.Always("owner", "text", "The login of the owner.", func(r *s) *string { return &r.Owner }),
		field.Always("status", "text", "complete, incomplete, unknown_owner or failed", func(r *s) *string { return &r.Status }),
		field.Always("started_at", "time", "When its first part began, UTC.", func(r *s) *time.Time { return &r.StartedAt }),
		field.Always("finished_at", "time", "When its last part ended, UTC. How far a sweep lags is this less the time in sweep_id.", func(r *s) *time.Time { return &r.FinishedAt }),
		field.Maybe("expected", "count", "repositories the owner has by GitHub's own count; null when it never answered", func(r *s) **int64 { return &r.Expected }),
		field.Always("seen", "count", "repositories observed, each once", func(r *s) *int64 { return &r.Seen }),
		field.Maybe("new", "count", "seen for the first time; null when nobody looked", func(r *s) **int64 { return &r.New }),
		field.Maybe("renamed", "count", "known under another name before; null when nobody looked", func(r *s) **int64 { return &r.Renamed }),
		field.Maybe("gone", "count", "known before, no longer there; null when nobody looked", func(r *s) **int64 { return &r.Gone }),
		field.Always("unanswered", "count", "GitHub did not answer for them", func(r *s) *int64 { return &r.Unanswered }),
		field.Always("pages", "count", "pages answered", func(r *s) *int64 { return &r.Pages }),
		field.Always("killed_pages", "count", "pages that GitHub cut off", func(r *s) *int64 { return &r.KilledPages }),
		field.Always("points", "count", "GraphQL points spent", func(r *s) *int64 { return &r.Points }),
		field.Always("seconds", "seconds", "from the first page to the last", func(r *s) *float64 { return &r.Seconds }),
		field.Maybe("reason", "text", "why it is not complete", func(r *s) **string { return &r.Reason }),
	}
}
