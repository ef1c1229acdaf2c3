package quota

import (
	"errors"
	"time"
)

// ErrRefused: a token is not good.
var ErrRefused = errors.New("GitHub refuses the token (bad credentials)")

// RateLimitedError says that no token may be used before a time.
type RateLimitedError struct {
	Until time.Time // zero if GitHub named none
}

func (l *RateLimitedError) Error() string {
	return "GitHub's limit is reached until " + l.Until.UTC().Format(time.RFC3339)
}

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
