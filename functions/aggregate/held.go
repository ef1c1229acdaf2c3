package aggregate

import (
	"bytes"
	"maps"
	"slices"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// hold bounds what a process keeps of the histories between two blocks. The
// zero hold keeps none: each block reads its histories and writes them.
type hold struct {
	repositories int // at most this many histories are held
	unsaved      int // records after which the histories are written, at the latest
}

// held is the histories that a process knows without asking Redis, because it
// alone computes their partitions. What it holds is what is settled in Kafka; a
// block in hand that fails is dropped together with all that was held.
type held struct {
	histories map[int64]*history
	unsaved   map[int64]*history // those of them that Redis has not
	records   int                // computed since the last save
	follows   map[int32]int64    // where the next block of each partition begins if it follows the last
	saved     map[int32]int64    // up to where Redis knows each partition
}

func newHeld() *held {
	return &held{histories: map[int64]*history{}, unsaved: map[int64]*history{}, follows: map[int32]int64{}, saved: map[int32]int64{}}
}

// history returns what is held of a repository. A topic that is widened moves
// repositories to other partitions, maybe of other processes: a history that
// was last touched from another partition is not trusted.
func (h *held) history(repo int64, partition int32) *history {
	if known := h.histories[repo]; known != nil && known.home == partition {
		return known
	}
	return nil
}

// resumed lists the partitions of a block that do not follow the last block.
func (h *held) resumed(first kafka.Offsets) map[int32]bool {
	resumed := map[int32]bool{}
	for p, begins := range first {
		resumed[p.Number] = !h.followed(p.Number, begins)
	}
	return resumed
}

// followed says whether a partition goes on at an offset where the last block of
// it ended. One that is new here goes on nowhere, not even at 0.
func (h *held) followed(partition int32, begins int64) bool {
	next, known := h.follows[partition]
	return known && next == begins
}

// follow says whether all partitions of a block follow the last block.
func (h *held) follow(first kafka.Offsets) bool {
	for p, begins := range first {
		if !h.followed(p.Number, begins) {
			return false
		}
	}
	return true
}

// partitions lists those of a block and those held.
func (h *held) partitions(first kafka.Offsets) []int32 {
	numbers := map[int32]bool{}
	for p := range first {
		numbers[p.Number] = true
	}
	for p := range h.saved {
		numbers[p] = true
	}
	return slices.Collect(maps.Keys(numbers))
}

// moved says whether Redis is elsewhere than this process left it. A position
// that Redis lacks is 0: there is no history.
func (h *held) moved(at map[int32]int64) bool {
	for p, saved := range h.saved {
		if at[p] != saved {
			return true
		}
	}
	return false
}

// drop forgets all histories, and the partitions that are elsewhere.
func (h *held) drop(at map[int32]int64) {
	clear(h.histories)
	clear(h.unsaved)
	h.records = 0
	for p, saved := range h.saved {
		if at[p] != saved || !h.followed(p, saved) {
			delete(h.saved, p)
			delete(h.follows, p)
		}
	}
}

// keep takes over what a settled block has computed.
func (h *held) keep(computed map[int64]*history, next kafka.Offsets, records int) {
	for repo, c := range computed {
		c.Newest = bytes.Clone(c.Newest) // it lies in a buffer with what was fetched beside it
		h.histories[repo], h.unsaved[repo] = c, c
	}
	for p, n := range next {
		h.follows[p.Number] = n
	}
	h.records += records
}

// settled notes that Redis has all, and keeps no more than is allowed.
func (h *held) settled(repositories int) {
	clear(h.unsaved)
	h.records = 0
	h.saved = maps.Clone(h.follows)
	if len(h.histories) > repositories {
		clear(h.histories)
	}
}
