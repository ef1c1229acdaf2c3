package api

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// callers hold the rate of each caller. The least recently seen is forgotten when
// there are too many.
type callers struct {
	rate  rate.Limit
	burst int

	mu     sync.Mutex
	known  map[string]*list.Element
	recent *list.List // of *caller, the newest first
}

type caller struct {
	name    string
	limiter *rate.Limiter
}

const (
	maxCallers = 10_000
	// burstSeconds is how many seconds of its rate a caller may use at once: a page asks
	// several questions when it opens.
	burstSeconds = 5
)

func newCallers(perSecond float64) *callers {
	return &callers{rate: rate.Limit(perSecond), burst: max(1, int(perSecond*burstSeconds)), known: map[string]*list.Element{}, recent: list.New()}
}

// allow says whether a caller may ask now.
func (c *callers) allow(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[name]
	if ok {
		c.recent.MoveToFront(e)
	} else {
		if c.recent.Len() >= maxCallers {
			oldest := c.recent.Remove(c.recent.Back()).(*caller)
			delete(c.known, oldest.name)
		}
		e = c.recent.PushFront(&caller{name, rate.NewLimiter(c.rate, c.burst)})
		c.known[name] = e
	}
	return e.Value.(*caller).limiter.AllowN(time.Now(), 1)
}
