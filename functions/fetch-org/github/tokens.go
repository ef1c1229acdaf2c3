package github

import (
	"sync"
	"time"
)

// RefusedFor is how long GitHub has to refuse every token before that counts: now
// and then it refuses a good one. No token is left alone for longer.
const RefusedFor = 10 * time.Minute

// firstRefusal is how long a token is left alone after a refusal; doubled with
// each, up to RefusedFor.
const firstRefusal = 15 * time.Second

// tokens are the tokens that GitHub is asked with. What may be asked with one
// depends on its user, who may have several.
type tokens struct {
	mu   sync.Mutex
	each []*token
}

type token struct {
	number int // from 1, for the log
	value  string
	naming chan struct{} // held while it is found out whose it is
	user   string        // under naming; "" until GitHub has said whose it is
	failed int           // under naming: failed tries in a row to find out

	rests    time.Time // under tokens.mu: it is not used before
	refusals int       // under tokens.mu: answers in a row that refused it
}

func newTokens(values []string) *tokens {
	t := &tokens{}
	for i, v := range values {
		t.each = append(t.each, &token{number: i + 1, value: v, naming: make(chan struct{}, 1)})
	}
	return t
}

// check fails with *RefusedError or *RateLimitedError while a token is not to be
// used.
func (t *tokens) check(c *token, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !now.Before(c.rests):
		return nil
	case c.refusals > 0:
		return &RefusedError{c.rests, errRefused}
	}
	return &RateLimitedError{c.rests}
}

// rest sets aside a token until a time.
func (t *tokens) rest(c *token, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.rests = until
}

// refuse sets aside a token that GitHub has just refused, for longer each time:
// GitHub bans addresses that keep asking with bad credentials. It returns when
// the token is tried again.
func (t *tokens) refuse(c *token, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.rests = now.Add(min(firstRefusal<<min(c.refusals, 10), RefusedFor))
	c.refusals++
	return c.rests
}

// accept notes that GitHub has answered a question with the token.
func (t *tokens) accept(c *token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.refusals = 0
}

// refused says whether the last answer to every token was a refusal.
func (t *tokens) refused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.each {
		if c.refusals == 0 {
			return false
		}
	}
	return true
}
