package sinkclickhouse

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// TestAnOldKeyAmongThoseOfTodayIsLookedUpByItself: what a look-up costs follows
// the months between its first and its last key.
func TestAnOldKeyAmongThoseOfTodayIsLookedUpByItself(t *testing.T) {
	today := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	var keys []repo.Key
	for i := range int64(lookupChunk + 10) {
		keys = append(keys, repo.Key{ID: i, ObservedAt: today.Add(time.Duration(i) * time.Second).UnixMilli()})
	}
	keys = slices.Insert(keys, 7, repo.Key{ID: 1, ObservedAt: today.AddDate(0, 0, -60).UnixMilli()})
	var got []int
	for _, some := range lookups(keys) {
		from, to := time.UnixMilli(some[0].ObservedAt).UTC(), time.UnixMilli(some[len(some)-1].ObservedAt).UTC()
		if from.Year() != to.Year() || from.Month() != to.Month() {
			t.Errorf("one look-up from %s to %s", from, to)
		}
		got = append(got, len(some))
	}
	if want := []int{1, lookupChunk, 10}; !slices.Equal(got, want) {
		t.Errorf("look-ups of %v keys, want %v", got, want)
	}
}

func TestMarkersThatAStoreHasLostAreFound(t *testing.T) {
	mark := func(id string, partition int32, next int64) kafka.Mark {
		return kafka.Mark{TopicID: id, Partition: partition, Next: next}
	}
	seen := advance([]kafka.Mark{mark("a", 0, 5), mark("a", 1, 6)}, "a", kafka.Offsets{{Topic: event.TopicSweeps, Number: 1}: 9})
	f := func(lost int, now ...kafka.Mark) {
		t.Helper()
		if got := missing(now, seen); len(got) != lost {
			t.Errorf("of %v: lost %v, want %d of %v", now, got, lost, seen)
		}
	}
	f(0, mark("a", 0, 5), mark("a", 1, 9))
	f(0, mark("a", 1, 20), mark("a", 2, 1), mark("a", 0, 5))
	f(2)
	f(1, mark("a", 0, 5))
	f(1, mark("a", 0, 5), mark("a", 1, 8))
	f(2, mark("b", 0, 5), mark("b", 1, 9))
	if want := []kafka.Mark{mark("a", 1, 9), mark("a", 0, 5)}; !reflect.DeepEqual(seen, want) {
		t.Errorf("marks %v, want %v", seen, want)
	}
}

func TestRowsOfManyMonthsAreInsertedInGroupsOfFew(t *testing.T) {
	f := func(rows, months, groups int) {
		t.Helper()
		var all []*push
		for i := range rows {
			all = append(all, &push{int64(i), time.Date(1980, time.Month(1+i%months), 1, 0, 0, 0, 0, time.UTC).UnixMilli()})
		}
		cut := byMonths(all, (*push).time)
		if len(cut) != groups {
			t.Errorf("%d months: %d groups, want %d", months, len(cut), groups)
		}
		seen := map[int64]bool{}
		for _, group := range cut {
			of := map[string]bool{}
			for _, p := range group {
				of[p.time().Format("2006-01")], seen[p.repo] = true, true
			}
			if len(of) > maxMonths {
				t.Errorf("%d months: one insert is of %d", months, len(of))
			}
		}
		if len(seen) != rows {
			t.Errorf("%d months: %d rows of %d", months, len(seen), rows)
		}
	}
	f(0, 1, 1)
	f(1000, 12, 1)
	f(1000, 200, 1)
	f(1000, 201, 2)
	f(5000, 2772, 14)
}
