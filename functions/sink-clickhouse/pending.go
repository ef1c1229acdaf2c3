package sinkclickhouse

import (
	"maps"
	"time"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// pending is what blocks lead to besides rows of the time series, until it is
// inserted and marked. Several blocks of a backlog have many rows of one
// repository: one is enough.
type pending struct {
	state   map[int64]*row // of each repository the row that wins
	pushes  map[push]bool
	block   kafka.Block // where they begin and end
	records int
}

// push is the time of a repository's last push.
type push struct {
	repo int64
	at   int64 // ms since 1970, UTC
}

func (p *push) time() time.Time { return time.UnixMilli(p.at).UTC() }

func newPending() *pending {
	return &pending{state: map[int64]*row{}, pushes: map[push]bool{}, block: kafka.Block{First: kafka.Offsets{}, Next: kafka.Offsets{}}}
}

// add takes rows over and returns those that it does not need.
func (u *pending) add(rows []*row) (free []*row) {
	for _, w := range rows {
		if w.PushedAt != nil {
			u.pushes[push{w.ID, w.PushedAt.UnixMilli()}] = true
		}
		if lost := replace(u.state, w.ID, w); lost != nil {
			free = append(free, lost)
		}
	}
	u.records += len(rows)
	return free
}

// extend notes where a block begins and ends whose rows were added.
func (u *pending) extend(b kafka.Block) {
	for p, first := range b.First {
		if _, known := u.block.First[p]; !known {
			u.block.First[p] = first
		}
	}
	maps.Copy(u.block.Next, b.Next)
}

// replace gives a row the place of its key if it wins there in a table that
// replaces. It returns the row that has lost, if there were two.
func replace[K comparable](best map[K]*row, key K, w *row) (lost *row) {
	b := best[key]
	if b != nil && w.version() < b.version() {
		return w
	}
	best[key] = w
	return b
}
