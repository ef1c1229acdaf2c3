package github

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"
)

// What GitHub's answer may mean other than success. Only ErrUnknownOwner is final;
// after any other error the question may be asked again later, or with the token
// of another user.
var (
	ErrUnknownOwner = errors.New("GitHub knows no such owner")
	ErrNoToken      = errors.New("GITHUB_TOKEN is not set: GitHub cannot be asked")
	errRefused      = errors.New("GitHub refuses the token (bad credentials)")
)

// RateLimitedError says that no token may be used before a time.
type RateLimitedError struct {
	Until time.Time // zero if GitHub named none
}

func (l *RateLimitedError) Error() string {
	return "GitHub's limit is reached until " + l.Until.UTC().Format(time.RFC3339)
}

// NoAnswerError says that there was no answer, or no usable one.
type NoAnswerError struct {
	Killed     bool // GitHub worked on it and gave up, for which it charges points
	Unreadable bool // GitHub answered, but the answer cannot be decoded
	Cause      error
}

func (b *NoAnswerError) Error() string { return "GitHub did not answer: " + b.Cause.Error() }

// Unwrap returns the cause.
func (b *NoAnswerError) Unwrap() error { return b.Cause }

// deniedError: GitHub does not answer this question to this user.
type deniedError struct{ reason string }

func (d *deniedError) Error() string { return d.reason }

// RefusedError says that GitHub refused every token.
type RefusedError struct {
	// Until is when the first of them is tried again; zero if the tokens are good
	// and the owner denies all their users.
	Until time.Time
	Cause error
}

func (r *RefusedError) Error() string { return r.Cause.Error() }

// Unwrap returns the cause.
func (r *RefusedError) Unwrap() error { return r.Cause }

// Brief shortens a text of GitHub's, to 300 bytes, for a log line or a reason in
// the ledger.
func Brief(text string) string {
	const most = 300
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "")
}

// The pauses between tries of one question. Jitter takes off up to half.
const (
	firstPause = 2 * MinInterval
	maxPause   = 8 * time.Second
)

// Backoff is the pause after a number of failures in a row, at most 8 s: doubled
// each time, with jitter, so that processes that failed together do not come back
// together.
func Backoff(failures int) time.Duration {
	d := min(firstPause<<min(failures, 10), maxPause)
	return d/2 + rand.N(d/2)
}
