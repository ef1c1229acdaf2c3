package main

import (
	"testing"
	"time"
)

// Whenever the watch was started and however long a look took: data that was due at a full
// minute, and is an alert after another, is seen a second after that.
func TestTheWatchLooksASecondAfterAFullMinute(t *testing.T) {
	due := time.Date(2026, 5, 1, 11, 0, 0, 0, time.UTC)
	for started := range 60 * 4 {
		now := due.Add(-time.Duration(started) * 250 * time.Millisecond)
		looks := 0
		for !now.After(due.Add(time.Minute)) {
			next := nextLook(now, time.Minute)
			if gap := next.Sub(now); gap <= 0 || gap > time.Minute+time.Second {
				t.Fatalf("after %s it looks at %s", now.Format(time.StampMilli), next.Format(time.StampMilli))
			}
			now = next.Add(time.Duration(looks) * 700 * time.Millisecond) // the look takes as long
			looks++
			if next.After(due.Add(time.Minute)) && next.Sub(due) != time.Minute+time.Second {
				t.Errorf("started %d quarters of a second before, it looks %s after data was due", started, next.Sub(due))
			}
		}
	}
}
