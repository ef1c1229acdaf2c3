package kafka

import "sync"

// Partition names one partition of a topic.
type Partition struct {
	Topic  string
	Number int32
}

// Offsets are next offsets by partition: all before them is done.
type Offsets map[Partition]int64

// Reach says whether all before the target offsets is done.
func (o Offsets) Reach(target Offsets) bool {
	for p, next := range target {
		if o[p] < next {
			return false
		}
	}
	return true
}

// Behind counts the records from these offsets up to the ends, control records
// among them, without those that their partitions no longer have.
func (o Offsets) Behind(starts, ends Offsets) (records int64) {
	for p, end := range ends {
		records += max(0, end-max(o[p], starts[p]))
	}
	return records
}

// coverage is how far a drain has come: what it has made durable. Waiters learn
// of every advance.
type coverage struct {
	mu      sync.Mutex
	next    Offsets
	changed chan struct{} // closed and replaced at each advance
}

func newCoverage() *coverage {
	return &coverage{next: Offsets{}, changed: make(chan struct{})}
}

// advance raises the covered offsets, and says whether it raised any; it never
// lowers one.
func (c *coverage) advance(to Offsets) (raised bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, next := range to {
		if have, ok := c.next[p]; !ok || next > have {
			c.next[p] = next
			raised = true
		}
	}
	if !raised {
		return false
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// covers says whether all before the target offsets is done, and what to wait
// on if not.
func (c *coverage) covers(target Offsets) (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.next.Reach(target) {
		return false, c.changed
	}
	return true, nil
}

// knows says whether all partitions of the target are drained at all, once any is.
func (c *coverage) knows(target Offsets) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range target {
		if _, ok := c.next[p]; !ok && len(c.next) > 0 {
			return false
		}
	}
	return true
}

func (c *coverage) snapshot() Offsets {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(Offsets, len(c.next))
	for p, next := range c.next {
		out[p] = next
	}
	return out
}
