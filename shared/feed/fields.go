package feed

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/field"
)

// Fields lists the fields of an event, in the order of the schema. Each has its one
// definition here.
func Fields() []field.Field[Event] {
	type e = Event
	return []field.Field[e]{
		field.Always("event_type", "text", "GitHub's name of what happened: PushEvent, WatchEvent (a star), ...; unknown ones too.", func(r *e) *string { return &r.Type }),
		field.Always("event_id", "id", "GitHub's id of the event: neither ordered nor unique without event_type and created_at.", func(r *e) *int64 { return &r.ID }),
		field.Always("created_at", "time", "When it happened, UTC.", func(r *e) *time.Time { return &r.CreatedAt }),
		field.Always("repo_id", "id", "GitHub's database id of the repository.", func(r *e) *int64 { return &r.RepoID }),
		field.Always("name_with_owner", "text", "owner/name of the repository, as the event has it.", func(r *e) *string { return &r.NameWithOwner }),
		field.Always("owner", "text", "Organisation or person whose repository it is.", func(r *e) *string { return &r.Owner }),
		field.Maybe("actor_id", "id", "GitHub's id of the account that did it; null if GitHub does not say.", func(r *e) **int64 { return &r.ActorID }),
		field.Maybe("actor_login", "text", "Its login at the reading.", func(r *e) **string { return &r.ActorLogin }),
		field.Always("actor_is_bot", "flag", "It is a program's account: by the end of its login, or because it is listed.", func(r *e) *bool { return &r.ActorIsBot }),
		field.Maybe("action", "text", "What was done to the subject: opened, closed, merged, created, published, ...; merged for a pull request of the older form that was closed by a merge; null for pushes, branches and tags.", func(r *e) **string { return &r.Action }),
		field.Maybe("subject_kind", "text", "What it was done to: issue, pull_request, discussion, release, branch, tag or repository; null where the payload names none of these.", func(r *e) **string { return &r.SubjectKind }),
		field.Maybe("number", "id", "Number of the issue, pull request or discussion in its repository.", func(r *e) **int64 { return &r.Number }),
		field.Maybe("author_id", "id", "Account that began the issue, pull request, discussion or release; null for pull requests since October 2025.", func(r *e) **int64 { return &r.AuthorID }),
		field.Maybe("author_login", "text", "Its login at the reading.", func(r *e) **string { return &r.AuthorLogin }),
		field.Maybe("author_is_bot", "flag", "It is a program's account; null if the author is not known.", func(r *e) **bool { return &r.AuthorIsBot }),
		field.Maybe("subject_created_at", "time", "When the subject was begun, UTC; null for pull requests since October 2025.", func(r *e) **time.Time { return &r.SubjectCreatedAt }),
		field.Maybe("subject_closed_at", "time", "When it was closed, as GitHub said at the reading; it may have been after the event.", func(r *e) **time.Time { return &r.SubjectClosedAt }),
		field.Maybe("subject_merged_at", "time", "When it was merged, as GitHub said at the reading.", func(r *e) **time.Time { return &r.SubjectMergedAt }),
		field.Maybe("review_state", "text", "Of a review: approved, changes_requested, commented or dismissed.", func(r *e) **string { return &r.ReviewState }),
		field.Maybe("ref", "text", "Branch or tag, whole: refs/heads/main.", func(r *e) **string { return &r.Ref }),
		field.Maybe("commits", "count", "Commits of a push; null since October 2025.", func(r *e) **int64 { return &r.Commits }),
		field.Maybe("release_tag", "text", "Tag of a release.", func(r *e) **string { return &r.ReleaseTag }),
		field.Maybe("payload", "text", "What else the payload has, in JSON: numbers, flags, times, hashes, single words; no texts, addresses or people. Null if there is none, or more than 2 KiB.", func(r *e) **string { return &r.Payload }),
		field.Always("observed_at", "time", "When it was read, UTC.", func(r *e) *time.Time { return &r.ObservedAt }),
		field.Always("source", "text", "rest for GitHub's API, gharchive for a file of GH Archive.", func(r *e) *string { return &r.Source }),
	}
}

// ReadingFields are the fields of a ledger line.
func ReadingFields() []field.Field[Reading] {
	type l = Reading
	return []field.Field[l]{
		field.Always("repo_id", "id", "GitHub's database id of the repository.", func(r *l) *int64 { return &r.RepoID }),
		field.Always("name_with_owner", "text", "owner/name at the reading.", func(r *l) *string { return &r.NameWithOwner }),
		field.Always("owner", "text", "The login of the owner.", func(r *l) *string { return &r.Owner }),
		field.Always("status", "text", "complete; gap, if events were lost from GitHub's window before they were read; or failed, if the feed was refused", func(r *l) *string { return &r.Status }),
		field.Maybe("since", "time", "The reading before, UTC; null for the first.", func(r *l) **time.Time { return &r.Since }),
		field.Always("read_at", "time", "When GitHub was asked, UTC.", func(r *l) *time.Time { return &r.ReadAt }),
		field.Always("events", "count", "events that were not in the reading before", func(r *l) *int64 { return &r.Events }),
		field.Always("unreadable", "count", "events that could not be read, and were not stored", func(r *l) *int64 { return &r.Unreadable }),
		field.Always("requests", "count", "requests to GitHub's REST API, free ones too", func(r *l) *int64 { return &r.Requests }),
		field.Maybe("gap_from", "time", "The newest event that was known before the gap, UTC; null if there is no gap.", func(r *l) **time.Time { return &r.GapFrom }),
		field.Maybe("gap_to", "time", "The oldest event that GitHub still had, UTC; null if there is no gap.", func(r *l) **time.Time { return &r.GapTo }),
		field.Always("next_seconds", "seconds", "until the next reading, as learned", func(r *l) *float64 { return &r.NextSeconds }),
		field.Maybe("reason", "text", "why it is not complete", func(r *l) **string { return &r.Reason }),
	}
}
