package fetchorg

import (
	"sync"
	"time"
)

// refusedFor is how long GitHub has to refuse a question before that is final:
// now and then it refuses a token that is good.
const refusedFor = 10 * time.Minute

// tokens are what GitHub is asked with. What may be asked with one depends on
// its user, who may have several.
type tokens struct {
	mu   sync.Mutex
	each []*token
}

type token struct {
	number int // from 1, for the log
	value  string
	naming chan struct{} // held while it is found out whose it is
	user   string        // under naming; "" until GitHub has said whose it is
	failed int           // under naming: tries in a row to find out

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

// check fails with *refused or *limited while a token is not to be used.
func (t *tokens) check(c *token, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !now.Before(c.rests):
		return nil
	case c.refusals > 0:
		return &refused{c.rests, errRefused}
	}
	return &limited{c.rests}
}

// rest leaves a token alone until a time.
func (t *tokens) rest(c *token, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.rests = until
}

// refuse leaves alone a token that GitHub has just refused, longer each time:
// who asks on and on with a bad one gets his address banned. It returns when the
// token is tried again.
func (t *tokens) refuse(c *token, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.rests = now.Add(min(firstSetback<<min(c.refusals, 10), refusedFor))
	c.refusals++
	return c.rests
}

// accept notes that GitHub has answered a question with the token.
func (t *tokens) accept(c *token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.refusals = 0
}

// refused says whether GitHub has refused every token of late.
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
