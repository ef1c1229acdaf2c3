package fetchorg

import (
	"sync"
	"time"
)

// refusedFor is how long a token that GitHub refused is left alone. It may be
// mended on GitHub's side, but asking on and on with a bad one gets an address
// banned.
const refusedFor = 10 * time.Minute

// tokens are what GitHub is asked with: one until it is spent, then the next.
// Taking turns would spend all at once.
type tokens struct {
	mu   sync.Mutex
	each []token
}

type token struct {
	value   string
	restsTo time.Time // not to be used before
	refused bool      // that is because GitHub refused it
}

func newTokens(values []string) *tokens {
	t := &tokens{}
	for _, v := range values {
		t.each = append(t.each, token{value: v})
	}
	return t
}

// pick returns the first token that can be used. If none can, it fails with
// *limited, or with errRefused if GitHub refuses them all.
func (t *tokens) pick(now time.Time) (index int, value string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var soonest *limited
	for i, c := range t.each {
		if !now.Before(c.restsTo) {
			return i, c.value, nil
		}
		if !c.refused && (soonest == nil || c.restsTo.Before(soonest.until)) {
			soonest = &limited{c.restsTo}
		}
	}
	if soonest == nil {
		return 0, "", errRefused
	}
	return 0, "", soonest
}

// rest keeps a token from being used before a time.
func (t *tokens) rest(index int, until time.Time, refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each[index].restsTo, t.each[index].refused = until, refused
}
