package kafka

import "sync"

// Partition names one partition of a topic.
type Partition struct {
	Topic  string
	Number int32
}

// Offsets are next offsets by partition: all records before them are done.
type Offsets map[Partition]int64

// Covers reports whether all records before the target offsets are done.
func (o Offsets) Covers(target Offsets) bool {
	for p, next := range target {
		if o[p] < next {
			return false
		}
	}
	return true
}

// Behind counts the offsets from these up to the ends, those of control records
// included, without those that retention has deleted.
func (o Offsets) Behind(starts, ends Offsets) (records int64) {
	for p, end := range ends {
		records += max(0, end-max(o[p], starts[p]))
	}
	return records
}

// coverage is offsets that only rise, and that can be waited for.
type coverage struct {
	mu      sync.Mutex
	next    Offsets
	changed chan struct{} // closed and replaced at each advance
}

func newCoverage() *coverage {
	return &coverage{next: Offsets{}, changed: make(chan struct{})}
}

// advance raises the covered offsets, and reports whether it raised any. It never
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

// covers reports whether all records before the target offsets are done. If not, the
// channel is closed at the next advance.
func (c *coverage) covers(target Offsets) (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.next.Covers(target) {
		return false, c.changed
	}
	return true, nil
}

// knows reports whether every partition of the target is covered to some offset. It
// is true as long as none at all is.
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
