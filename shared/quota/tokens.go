package quota

import (
	"strings"
	"sync"
	"time"
)

// RefusedFor is how long GitHub has to refuse every token before that counts: now
// and then it refuses a good one. No token is left alone for longer.
const RefusedFor = 10 * time.Minute

// firstRefusal is how long a token is left alone after a refusal; doubled with
// each, up to RefusedFor.
const firstRefusal = 15 * time.Second

// Tokens are the tokens that GitHub is asked with. What may be asked with one
// depends on its user, who may have several.
type Tokens struct {
	Each []*Token

	mu sync.Mutex
}

// Token is one of them.
type Token struct {
	Number int // from 1, for the log
	Value  string
	Naming chan struct{} // held while it is found out whose it is
	User   string        // under Naming; "" until GitHub has said whose it is
	Failed int           // under Naming: failed tries in a row to find out

	rests    time.Time // under Tokens.mu: it is not used before
	refusals int       // under Tokens.mu: answers in a row that refused it
}

// NewTokens returns tokens that are separated by commas or white space.
func NewTokens(list string) *Tokens {
	t := &Tokens{}
	for i, v := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		t.Each = append(t.Each, &Token{Number: i + 1, Value: v, Naming: make(chan struct{}, 1)})
	}
	return t
}

// Check fails with *RefusedError or *RateLimitedError while a token is not to be
// used.
func (t *Tokens) Check(c *Token, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !now.Before(c.rests):
		return nil
	case c.refusals > 0:
		return &RefusedError{c.rests, ErrRefused}
	}
	return &RateLimitedError{c.rests}
}

// Rest sets aside a token until a time.
func (t *Tokens) Rest(c *Token, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.rests = until
}

// Refuse sets aside a token that GitHub has just refused, for longer each time:
// GitHub bans addresses that keep asking with bad credentials. It returns when
// the token is tried again.
func (t *Tokens) Refuse(c *Token, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.rests = now.Add(min(firstRefusal<<min(c.refusals, 10), RefusedFor))
	c.refusals++
	return c.rests
}

// Accept notes that GitHub has answered a question with the token.
func (t *Tokens) Accept(c *Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.refusals = 0
}

// Refused says whether the last answer to every token was a refusal.
func (t *Tokens) Refused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.Each {
		if c.refusals == 0 {
			return false
		}
	}
	return true
}
