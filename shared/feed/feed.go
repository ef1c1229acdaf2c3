// Package feed holds what M7 Pulse keeps of GitHub's feeds of public events: one
// Event says who did what in a repository, and when.
//
// GitHub has given events in two forms: until October 2025 with whole pull requests
// and commits, since then with little more than their numbers. Read brings both to
// one form, in which what a payload lacks is null. It keeps no text that a person has
// written: no titles, bodies, comments, commit messages or addresses.
package feed

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Event is one event of a repository's feed. A nil field means "the payload does not
// say", never zero.
//
// GitHub's ids are neither ordered nor unique: they began again lower in 2025, and
// two sequences run side by side. The identity is Key.
type Event struct {
	Type             string     `avro:"event_type" json:"event_type"` // PushEvent, …; unknown ones too
	ID               int64      `avro:"event_id" json:"event_id"`
	CreatedAt        time.Time  `avro:"created_at" json:"created_at"` // UTC, millisecond precision
	RepoID           int64      `avro:"repo_id" json:"repo_id"`
	NameWithOwner    string     `avro:"name_with_owner" json:"name_with_owner"`
	Owner            string     `avro:"owner" json:"owner"`
	ActorID          *int64     `avro:"actor_id" json:"actor_id"`
	ActorLogin       *string    `avro:"actor_login" json:"actor_login"`
	ActorIsBot       bool       `avro:"actor_is_bot" json:"actor_is_bot"`
	Action           *string    `avro:"action" json:"action"` // opened, merged, …
	SubjectKind      *string    `avro:"subject_kind" json:"subject_kind"`
	Number           *int64     `avro:"number" json:"number"`
	AuthorID         *int64     `avro:"author_id" json:"author_id"`
	AuthorLogin      *string    `avro:"author_login" json:"author_login"`
	AuthorIsBot      *bool      `avro:"author_is_bot" json:"author_is_bot"`
	SubjectCreatedAt *time.Time `avro:"subject_created_at" json:"subject_created_at"`
	SubjectClosedAt  *time.Time `avro:"subject_closed_at" json:"subject_closed_at"`
	SubjectMergedAt  *time.Time `avro:"subject_merged_at" json:"subject_merged_at"`
	ReviewState      *string    `avro:"review_state" json:"review_state"`
	Ref              *string    `avro:"ref" json:"ref"` // refs/heads/main
	Commits          *int64     `avro:"commits" json:"commits"`
	ReleaseTag       *string    `avro:"release_tag" json:"release_tag"`
	Payload          *string    `avro:"payload" json:"payload"` // JSON, see rest
	ObservedAt       time.Time  `avro:"observed_at" json:"observed_at"`
	Source           string     `avro:"source" json:"source"` // rest, gharchive
}

// The kinds of subjects. Other values of SubjectKind do not occur.
const (
	KindIssue       = "issue"
	KindPullRequest = "pull_request"
	KindDiscussion  = "discussion"
	KindRelease     = "release"
	KindBranch      = "branch"
	KindTag         = "tag"
	KindRepository  = "repository"
)

// ActionMerged is the action of a pull request that was merged. Before October 2025
// GitHub said that it was closed, with merged in its payload.
const ActionMerged = "merged"

// Key is the identity of an event wherever one can be repeated.
type Key struct {
	Type      string
	ID        int64
	CreatedAt int64 // ms since 1970, UTC
}

// Key returns the event's identity.
func (e *Event) Key() Key { return Key{e.Type, e.ID, e.CreatedAt.UnixMilli()} }

// Hash is 64 bits of the key, the same in every process and version.
func (k Key) Hash() uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s/%d@%d", k.Type, k.ID, k.CreatedAt)
	return h.Sum64()
}

// String is the key as text: PushEvent/12660541189@1780326000000.
func (k Key) String() string {
	return k.Type + "/" + strconv.FormatInt(k.ID, 10) + "@" + strconv.FormatInt(k.CreatedAt, 10)
}

// Limits of a plausible event, in bytes where they bound a text.
const (
	maxType    = 64
	maxName    = 256
	maxWord    = 100 // a login, an action, a state
	maxRef     = 1 << 10
	maxPayload = 2 << 10
	clockSkew  = 24 * time.Hour
)

// MaxBytes bounds a valid event in Avro.
const MaxBytes = 16 << 10

// githubBegan is the month before GitHub's first repository.
func githubBegan() time.Time { return time.Date(2007, 9, 1, 0, 0, 0, 0, time.UTC) }

// Normalize brings an event to the one form that is stored: times in UTC at
// millisecond precision, the owner filled from name_with_owner.
func (e *Event) Normalize() {
	e.CreatedAt = e.CreatedAt.UTC().Truncate(time.Millisecond)
	e.ObservedAt = e.ObservedAt.UTC().Truncate(time.Millisecond)
	for _, t := range [...]**time.Time{&e.SubjectCreatedAt, &e.SubjectClosedAt, &e.SubjectMergedAt} {
		if *t != nil {
			normal := (*t).UTC().Truncate(time.Millisecond)
			*t = &normal
		}
	}
	if owner, _, ok := strings.Cut(e.NameWithOwner, "/"); ok && e.Owner == "" {
		e.Owner = owner
	}
}

// Validate says all that is wrong with an event, at the time now.
func (e *Event) Validate(now time.Time) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !identifier(e.Type, maxType) {
		bad("event_type %.80q is not the name of a type", e.Type)
	}
	if e.ID <= 0 || e.RepoID <= 0 {
		bad("event_id %d and repo_id %d must be greater than 0", e.ID, e.RepoID)
	}
	owner, rest, ok := strings.Cut(e.NameWithOwner, "/")
	if !ok || owner != e.Owner || owner == "" || rest == "" || strings.Contains(rest, "/") || !plain(e.NameWithOwner, maxName) {
		bad("name_with_owner %.300q with owner %.300q is not owner/name", e.NameWithOwner, e.Owner)
	}
	for name, at := range map[string]time.Time{"created_at": e.CreatedAt, "observed_at": e.ObservedAt} {
		if at.Before(githubBegan()) || at.After(now.Add(clockSkew)) {
			bad("%s %s is not between %s and now", name, at.Format(time.RFC3339), githubBegan().Format(time.DateOnly))
		}
	}
	for name, at := range map[string]*time.Time{"subject_created_at": e.SubjectCreatedAt, "subject_closed_at": e.SubjectClosedAt, "subject_merged_at": e.SubjectMergedAt} {
		if at != nil && !plausible(*at) {
			bad("%s %s is out of range", name, at.Format(time.RFC3339))
		}
	}
	for name, text := range map[string]*string{"actor_login": e.ActorLogin, "author_login": e.AuthorLogin, "action": e.Action,
		"review_state": e.ReviewState, "subject_kind": e.SubjectKind, "source": &e.Source} {
		if text != nil && !plain(*text, maxWord) {
			bad("%s %.120q has more than %d bytes, is not UTF-8, or holds control characters", name, *text, maxWord)
		}
	}
	for name, text := range map[string]*string{"ref": e.Ref, "release_tag": e.ReleaseTag} {
		if text != nil && !plain(*text, maxRef) {
			bad("%s %.120q has more than %d bytes, is not UTF-8, or holds control characters", name, *text, maxRef)
		}
	}
	if e.Payload != nil && (len(*e.Payload) > maxPayload || !utf8.ValidString(*e.Payload)) {
		bad("payload has %d bytes, more than %d, or is not UTF-8", len(*e.Payload), maxPayload)
	}
	return errors.Join(errs...)
}

// UnmarshalJSON reads the JSON form. A field that Avro requires must be present; an
// unknown field is refused. Nothing stays of what e held before.
func (e *Event) UnmarshalJSON(b []byte) error {
	*e = Event{}
	type plain Event
	return repo.Strict(b, (*plain)(e), "event_type", "event_id", "created_at", "repo_id", "name_with_owner", "observed_at")
}

// plausible says whether every store holds a time exactly.
func plausible(at time.Time) bool { return at.Year() >= 1970 && at.Year() <= 2200 }

// plain says whether a text is UTF-8 of at most a number of bytes, without control
// characters.
func plain(text string, most int) bool {
	return len(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// identifier says whether a text is one word of ASCII letters, digits and
// underscores that begins with a letter.
func identifier(text string, most int) bool {
	for i, r := range text {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r != '_' && (r < '0' || r > '9')) {
			return false
		}
	}
	return text != "" && len(text) <= most
}
