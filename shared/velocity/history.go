// Package velocity turns a repository's counter readings into velocities. It
// is pure arithmetic: no clock, no store, no network.
package velocity

import (
	"slices"
	"time"
)

// Point is what velocities need of one observation.
type Point struct {
	At           int64  `avro:"at"` // ms since 1970, UTC
	Stars        int64  `avro:"stars"`
	Forks        *int64 `avro:"forks"`
	OpenIssues   *int64 `avro:"open_issues"`
	MergedPRs    *int64 `avro:"merged_prs"`
	ClosedIssues *int64 `avro:"closed_issues"`
	CommitsTotal *int64 `avro:"commits_total"`
}

// values lists the counters in the order of the metrics.
func (p *Point) values() [metrics]*int64 {
	return [metrics]*int64{&p.Stars, p.Forks, p.OpenIssues, p.MergedPRs, p.ClosedIssues, p.CommitsTotal}
}

// What a History keeps: the last point of each UTC hour for 49 hours and of
// each UTC day for 61 days, counted back from the newest point. That is twice
// the longest window of each kind and one bucket more, so the whole range in
// which a base may lie is covered.
const (
	keepHours = 49
	keepDays  = 61
	hour      = int64(time.Hour / time.Millisecond)
	day       = 24 * hour
)

// MaxPoints is the most that a History holds.
const MaxPoints = keepHours + keepDays

// History is the thinned past of one repository, oldest point first. Which
// points it holds depends only on which were inserted, not on their order.
type History []Point

// Newest returns the time of the newest point, in ms, or false when empty.
func (h History) Newest() (int64, bool) {
	if len(h) == 0 {
		return 0, false
	}
	return h[len(h)-1].At, true
}

// Find returns the point of exactly this time, or nil.
func (h History) Find(at int64) *Point {
	if i, found := h.find(at); found {
		return &h[i]
	}
	return nil
}

// Insert adds a point and thins. A point of a time already held changes
// nothing: the first reading of a moment is the one that counts.
func (h History) Insert(p Point) History {
	i, found := h.find(p.At)
	if found {
		return h
	}
	if i < len(h) {
		return slices.Insert(h, i, p).thin(0)
	}
	// A newest point makes a rest superfluous only where the hours are kept no
	// longer, beside it, and at the far end.
	from := 0
	if i > 0 {
		from, _ = h.find((h[i-1].At/hour - keepHours) * hour)
	}
	return append(h, p).thin(from)
}

func (h History) find(at int64) (int, bool) {
	return slices.BinarySearchFunc(h, at, func(p Point, at int64) int {
		switch {
		case p.At < at:
			return -1
		case p.At > at:
			return 1
		}
		return 0
	})
}

// thin drops in place what a History does not keep. Of the points before from
// only the oldest can have become too old: they are the last of their days.
func (h History) thin(from int) History {
	newest := h[len(h)-1].At
	old := 0
	for old < from && h[old].At/day <= newest/day-keepDays {
		old++
	}
	kept := h[old:from]
	for i := from; i < len(h); i++ {
		p := &h[i]
		lastOfHour := i == len(h)-1 || h[i+1].At/hour != p.At/hour
		lastOfDay := i == len(h)-1 || h[i+1].At/day != p.At/day
		if lastOfHour && p.At/hour > newest/hour-keepHours || lastOfDay && p.At/day > newest/day-keepDays {
			kept = append(kept, *p)
		}
	}
	clear(h[old+len(kept):])
	return kept
}
