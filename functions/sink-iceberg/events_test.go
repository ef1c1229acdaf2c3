package sinkiceberg

import (
	"context"
	"fmt"
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

// TestAPersonIsForgotten as an actor and as an author; nobody else is, and what names
// nobody stays.
func TestAPersonIsForgotten(t *testing.T) {
	w := newWorld(t)
	at := time.Date(2026, 6, 1, 16, 0, 0, 0, time.UTC)
	of := func(id int64, actor, author *int64) *event.GitHubEvent {
		e := &event.GitHubEvent{Type: "IssuesEvent", ID: id, CreatedAt: at, RepoID: 1, NameWithOwner: "acme/tool", Owner: "acme", ObservedAt: at, Source: "rest", ActorID: actor, AuthorID: author}
		for from, to := range map[*int64]**string{actor: &e.ActorLogin, author: &e.AuthorLogin} {
			if from != nil {
				*to = new(fmt.Sprint("account-", *from))
			}
		}
		return e
	}
	ada, grace := new(int64(1)), new(int64(2))
	w.put(events(w.cold, w.letters, w.codec), w.block(event.TopicEvents,
		w.record(of(1, grace, nil)), w.record(of(2, ada, grace)), w.record(of(3, ada, ada)), w.record(of(4, nil, nil)), w.record(of(5, new(int64(22)), nil))))
	c, err := w.cold.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it may be done again
		if err := Forget(t.Context(), c, []int64{2}); err != nil {
			t.Fatal(err)
		}
		var left []int64
		for key := range w.eventTable() {
			left = append(left, key.ID)
		}
		slices.Sort(left)
		if !slices.Equal(left, []int64{3, 4, 5}) {
			t.Errorf("events %d are left, want 3, 4 and 5", left)
		}
	}
	if err := Forget(t.Context(), c, nil); err != nil || len(w.eventTable()) != 3 {
		t.Errorf("nobody: %v, %d events", err, len(w.eventTable()))
	}
}
