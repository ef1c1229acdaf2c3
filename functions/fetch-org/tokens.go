package fetchorg

import (
	"sync"
	"time"
)

// refusedFor is how long a token that GitHub refused is left alone. It may be
// mended on GitHub's side, but asking on and on with a bad one gets an address
// banned.
const refusedFor = 10 * time.Minute

// tokens are what GitHub is asked with. What may be asked with one depends on
// its user, who may have several.
type tokens struct {
	mu   sync.Mutex
	each []*token
}

type token struct {
	number   int // from 1, for the log
	value    string
	user     string        // "" until GitHub has said whose it is
	naming   chan struct{} // holds one who asks whose it is
	rests    time.Time     // before then that is not asked
	refused  bool
	refusals time.Time // until then it is not tried again
}

func newTokens(values []string) *tokens {
	t := &tokens{}
	for i, v := range values {
		t.each = append(t.each, &token{number: i + 1, value: v, naming: make(chan struct{}, 1)})
	}
	return t
}

// usable lists the tokens that GitHub has not refused lately, in the order of
// use. It fails with errRefused if there is none.
func (t *tokens) usable(now time.Time) ([]*token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*token
	for _, c := range t.each {
		if !c.refused || !now.Before(c.refusals) {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil, errRefused
	}
	return list, nil
}

// refuse leaves a token alone for a while.
func (t *tokens) refuse(c *token, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.refused, c.refusals = true, now.Add(refusedFor)
}
