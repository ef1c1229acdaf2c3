package kafka

import (
	"sync"
	"time"
)

// blockSize is the most records that the next block may have. A block that failed
// is tried again at half its size, down to one record, so that no block is too
// large for the time it has. The size doubles again with each block that took
// less than half of its time.
type blockSize struct {
	most int

	mu  sync.Mutex
	now int
}

func newBlockSize(most int) *blockSize { return &blockSize{most: most, now: most} }

// limit returns the size, and whether it is reduced because a block failed.
func (s *blockSize) limit() (records int, reduced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.now < s.most
}

// failed halves the size after a block of some number of records has failed.
func (s *blockSize) failed(records int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = max(1, min(s.now, records)/2)
}

// done doubles the size after a block that took less than half of its limit.
func (s *blockSize) done(took, limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if took < limit/2 {
		s.now = min(s.most, 2*s.now)
	}
}
