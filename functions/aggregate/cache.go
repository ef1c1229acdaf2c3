package aggregate

import (
	"bytes"
	"maps"
	"slices"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// cacheLimits bounds the histories that a process keeps between two blocks. The
// zero value keeps none: each block reads its histories and writes them.
type cacheLimits struct {
	repositories int // the most histories that are kept
	unsaved      int // records after which the histories are written, at the latest
}

// cache is the histories that a process knows without asking Redis, because it
// alone computes their partitions. It holds only what is committed in Kafka: when
// the current block fails, the whole cache is dropped with it.
type cache struct {
	histories map[int64]*history
	unsaved   map[int64]*history // those of them that Redis does not have yet
	records   int                // computed since the last save
	follows   map[int32]int64    // where the next block of each partition begins if it follows the last
	saved     map[int32]int64    // up to where Redis knows each partition
}

func newCache() *cache {
	return &cache{histories: map[int64]*history{}, unsaved: map[int64]*history{}, follows: map[int32]int64{}, saved: map[int32]int64{}}
}

// history returns the cached history of a repository, or nil. A topic that is
// given partitions moves repositories to other partitions, maybe of other
// processes: a history that was last changed from another partition is not used.
func (c *cache) history(repo int64, partition int32) *history {
	if known := c.histories[repo]; known != nil && known.home == partition {
		return known
	}
	return nil
}

// restarted lists the partitions of a block that do not follow the last block.
func (c *cache) restarted(first kafka.Offsets) map[int32]bool {
	restarted := map[int32]bool{}
	for p, begins := range first {
		restarted[p.Number] = !c.continuesAt(p.Number, begins)
	}
	return restarted
}

// continuesAt reports whether the last block of a partition ended at this offset.
// For a partition that is new here there was none, so not even 0 continues it.
func (c *cache) continuesAt(partition int32, begins int64) bool {
	next, known := c.follows[partition]
	return known && next == begins
}

// continues reports whether all partitions of a block follow the last block.
func (c *cache) continues(first kafka.Offsets) bool {
	for p, begins := range first {
		if !c.continuesAt(p.Number, begins) {
			return false
		}
	}
	return true
}

// partitions lists the partitions of a block and those in the cache.
func (c *cache) partitions(first kafka.Offsets) []int32 {
	numbers := map[int32]bool{}
	for p := range first {
		numbers[p.Number] = true
	}
	for p := range c.saved {
		numbers[p] = true
	}
	return slices.Collect(maps.Keys(numbers))
}

// changedElsewhere reports whether Redis is not where this process left it. A
// position that Redis lacks is 0: there is no history.
func (c *cache) changedElsewhere(at map[int32]int64) bool {
	for p, saved := range c.saved {
		if at[p] != saved {
			return true
		}
	}
	return false
}

// evict removes all histories, and the partitions that were changed elsewhere.
func (c *cache) evict(at map[int32]int64) {
	clear(c.histories)
	clear(c.unsaved)
	c.records = 0
	for p, saved := range c.saved {
		if at[p] != saved || !c.continuesAt(p, saved) {
			delete(c.saved, p)
			delete(c.follows, p)
		}
	}
}

// add takes over the histories of a block that was committed.
func (c *cache) add(computed map[int64]*history, next kafka.Offsets, records int) {
	for repo, h := range computed {
		h.Newest = bytes.Clone(h.Newest) // it shares a buffer with the records fetched beside it
		c.histories[repo], c.unsaved[repo] = h, h
	}
	for p, n := range next {
		c.follows[p.Number] = n
	}
	c.records += records
}

// markSaved notes that Redis has all histories, and keeps no more than is allowed.
func (c *cache) markSaved(repositories int) {
	clear(c.unsaved)
	c.records = 0
	c.saved = maps.Clone(c.follows)
	if len(c.histories) > repositories {
		clear(c.histories)
	}
}
