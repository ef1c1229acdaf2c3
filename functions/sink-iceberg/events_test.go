package sinkiceberg

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/feed/feedtest"
)

// eventTable is what the table holds, by key. A key that it holds twice is an error.
func (w *world) eventTable() map[feed.Key]event.GitHubEvent {
	w.t.Helper()
	c, err := w.cold.open(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[feed.Key]event.GitHubEvent{}
	_, err = ReadEvents(context.Background(), c, nil, func(rows []*event.GitHubEvent) error {
		for _, e := range rows {
			if _, twice := out[e.Key()]; twice {
				w.t.Errorf("%s is there twice", e.Key())
			}
			out[e.Key()] = *e
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestEventsInAnyOrderAnyNumberOfTimesAreStoredOnce: real ones of both forms, in blocks
// of any size, each stored by a process of its own; blocks come again, too.
func TestEventsInAnyOrderAnyNumberOfTimesAreStoredOnce(t *testing.T) {
	all := feedtest.Events(t)
	want := map[feed.Key]event.GitHubEvent{}
	for _, e := range all {
		want[e.Key()] = *e
	}
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t)
		some := slices.Clone(all)
		for range 600 {
			some = append(some, all[rng.IntN(len(all))])
		}
		rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		for len(some) > 0 {
			n := min(len(some), 1+rng.IntN(1500))
			var records []*kgo.Record
			for _, e := range some[:n] {
				records = append(records, w.record(e))
			}
			some = some[n:]
			b := w.block(event.TopicEvents, records...)
			for range 1 + rng.IntN(2) { // as after a commit whose answer was lost
				w.put(events(w.cold, w.letters, w.codec), b)
			}
		}
		if got := w.eventTable(); !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: %d events, want %d", seed, len(got), len(want))
		}
	}
}

func TestLedgerOfTheFeedsAndAnOwnersEventsArePurgedWithTheOwner(t *testing.T) {
	w := newWorld(t)
	at := time.Date(2026, 6, 1, 16, 0, 0, 0, time.UTC)
	of := func(owner string, id int64) (*event.GitHubEvent, *event.FeedRead) {
		return &event.GitHubEvent{Type: "WatchEvent", ID: id, CreatedAt: at, RepoID: id, NameWithOwner: owner + "/tool", Owner: owner, ObservedAt: at, Source: "rest"},
			&event.FeedRead{RepoID: id, NameWithOwner: owner + "/tool", Owner: owner, Status: feed.StatusComplete, ReadAt: at, Events: 1, Requests: 1}
	}
	var happened, lines []*kgo.Record
	for i, owner := range []string{"acme", "Acme", "globex"} {
		e, l := of(owner, int64(i+1))
		happened, lines = append(happened, w.record(e)), append(lines, w.record(l))
	}
	w.put(events(w.cold, w.letters, w.codec), w.block(event.TopicEvents, happened...))
	w.put(feedReads(w.cold, w.letters, w.codec), w.block(event.TopicFeedReads, lines...))
	c, err := w.cold.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := Purge(t.Context(), c, []string{"acme", "Acme"}); err != nil {
		t.Fatal(err)
	}
	if got := w.eventTable(); len(got) != 1 {
		t.Errorf("%d events are left, want that of globex: %v", len(got), got)
	}
	var left []*event.FeedRead
	if _, err := ReadFeedReads(t.Context(), c, func(rows []*event.FeedRead) error { left = append(left, rows...); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0].Owner != "globex" || left[0].Since != nil {
		t.Errorf("lines left: %+v", left)
	}
}
