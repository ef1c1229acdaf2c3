package fetchevents

import (
	"cmp"
	"slices"
	"time"

	"github.com/m7pulse/m7pulse/functions/fetch-events/github"
)

// The interval from one reading of a feed to the next is learned, so that GitHub's
// window of 300 events never runs over between two readings: aimed at are wanted new
// events a reading.
const (
	wanted   = github.WindowEvents / 4
	shortest = 5 * time.Minute // as often as a tick comes
)

// learned is what a reading says of its feed.
type learned struct {
	interval time.Duration // until this reading; 0: it was the first
	elapsed  time.Duration // since the reading before
	fresh    int           // events that were new
	overrun  bool
	spread   time.Duration // from the oldest event that was listed to the newest
	fastest  time.Duration // in which half of a window came; 0: none has as many
}

// next is the interval until the next reading. It falls at once to what this reading
// asks for, and grows to twice itself at most. It is never longer than the fastest run
// of events took that filled half of a window: what was once may come again.
func (l learned) next(longest time.Duration) time.Duration {
	next := longest
	switch {
	case l.overrun:
		return shortest
	case l.interval == 0:
		if l.fresh > 1 {
			next = l.spread * wanted / time.Duration(l.fresh-1)
		}
	case l.fresh == 0:
		next = l.interval * 3 / 2
	default:
		next = min(l.elapsed*wanted/time.Duration(l.fresh), 2*l.interval)
	}
	if l.fastest > 0 {
		next = min(next, l.fastest)
	}
	return min(max(next, shortest), longest)
}

// spread is the time from the first to the last.
func spread(times []time.Time) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return slices.MaxFunc(times, time.Time.Compare).Sub(slices.MinFunc(times, time.Time.Compare))
}

// fastestRun is the shortest time in which n events came one after the other, a second
// at least; 0 if there are fewer.
func fastestRun(times []time.Time, n int) (fastest time.Duration) {
	sorted := slices.SortedFunc(slices.Values(times), time.Time.Compare)
	for i := n - 1; i < len(sorted); i++ {
		if run := max(sorted[i].Sub(sorted[i-n+1]), time.Second); fastest == 0 || run < fastest {
			fastest = run
		}
	}
	return fastest
}

// overdue orders feeds by how long they have been due, in intervals of their own: a
// feed that moves fast comes before one that has waited longer and moves slowly.
func overdue(now time.Time) func(a, b *due) int {
	waited := func(d *due) float64 { return now.Sub(d.at).Seconds() / d.interval.Seconds() }
	return func(a, b *due) int {
		return cmp.Or(cmp.Compare(waited(b), waited(a)), cmp.Compare(a.interval, b.interval), cmp.Compare(a.id, b.id))
	}
}
