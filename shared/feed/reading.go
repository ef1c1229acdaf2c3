package feed

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Reading is the ledger line of one reading of one repository's feed: what was new,
// and what GitHub no longer had. There is one for each reading that found something,
// and for the first of each UTC day; so a day without a line is a day that was not
// read, and no line is missing for a gap.
//
// A line that is written again after a crash has the same RepoID and Since, and a
// later ReadAt.
type Reading struct {
	RepoID        int64      `avro:"repo_id" json:"repo_id"`
	NameWithOwner string     `avro:"name_with_owner" json:"name_with_owner"`
	Owner         string     `avro:"owner" json:"owner"`
	Status        string     `avro:"status" json:"status"`
	Since         *time.Time `avro:"since" json:"since"`
	ReadAt        time.Time  `avro:"read_at" json:"read_at"`
	Events        int64      `avro:"events" json:"events"`
	Unreadable    int64      `avro:"unreadable" json:"unreadable"`
	Requests      int64      `avro:"requests" json:"requests"`
	GapFrom       *time.Time `avro:"gap_from" json:"gap_from"`
	GapTo         *time.Time `avro:"gap_to" json:"gap_to"`
	NextSeconds   float64    `avro:"next_seconds" json:"next_seconds"`
	Reason        *string    `avro:"reason" json:"reason"`
}

// The values of Reading.Status.
const (
	StatusComplete = "complete"
	StatusGap      = "gap"
	StatusFailed   = "failed"
)

// MaxReason bounds Reading.Reason, in bytes.
const MaxReason = 1 << 10

// Normalize brings the times of a line to UTC at millisecond precision.
func (r *Reading) Normalize() {
	r.ReadAt = r.ReadAt.UTC().Truncate(time.Millisecond)
	for _, t := range [...]**time.Time{&r.Since, &r.GapFrom, &r.GapTo} {
		if *t != nil {
			normal := (*t).UTC().Truncate(time.Millisecond)
			*t = &normal
		}
	}
}

// Validate says all that is wrong with a line, at the time now.
func (r *Reading) Validate(now time.Time) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch r.Status {
	case StatusComplete, StatusGap, StatusFailed:
	default:
		bad("status %.40q is unknown", r.Status)
	}
	if r.RepoID <= 0 {
		bad("repo_id %d must be greater than 0", r.RepoID)
	}
	if !plain(r.NameWithOwner, maxName) || !plain(r.Owner, maxWord) || r.Owner == "" {
		bad("name_with_owner %.300q or owner %.300q is missing, too long, or holds control characters", r.NameWithOwner, r.Owner)
	}
	if r.ReadAt.Before(githubBegan()) || r.ReadAt.After(now.Add(clockSkew)) {
		bad("read_at %s is not between %s and now", r.ReadAt.Format(time.RFC3339), githubBegan().Format(time.DateOnly))
	}
	for name, at := range map[string]*time.Time{"since": r.Since, "gap_from": r.GapFrom, "gap_to": r.GapTo} {
		if at != nil && !plausible(*at) {
			bad("%s %s is out of range", name, at.Format(time.RFC3339))
		}
	}
	if (r.Status == StatusGap) != (r.GapTo != nil) {
		bad("status %s does not go with gap_to", r.Status)
	}
	if r.Events < 0 || r.Unreadable < 0 || r.Requests < 0 {
		bad("a count is below 0: events %d, unreadable %d, requests %d", r.Events, r.Unreadable, r.Requests)
	}
	if r.Reason != nil && (len(*r.Reason) > MaxReason || !utf8.ValidString(*r.Reason)) {
		bad("reason has %d bytes, more than %d, or is not UTF-8", len(*r.Reason), MaxReason)
	}
	return errors.Join(errs...)
}

// UnmarshalJSON reads the JSON form. A missing counter is an error: it must not be
// stored as zero. It replaces all that r held.
func (r *Reading) UnmarshalJSON(b []byte) error {
	*r = Reading{}
	type plain Reading
	return repo.Strict(b, (*plain)(r), "repo_id", "name_with_owner", "owner", "status", "read_at", "events", "unreadable", "requests")
}
