package github

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/shared/quota"
)

// What GitHub's answer may mean other than success. Only ErrUnknownOwner is final;
// after any other error the question may be asked again later, or with the token
// of another user.
var (
	ErrUnknownOwner = errors.New("GitHub knows no such owner")
	ErrNoToken      = errors.New("GITHUB_TOKEN is not set: GitHub cannot be asked")
)

// RateLimitedError says that no token may be used before a time.
type RateLimitedError = quota.RateLimitedError

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
type RefusedError = quota.RefusedError

// RefusedFor is how long GitHub has to refuse every token before that counts.
const RefusedFor = quota.RefusedFor

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
