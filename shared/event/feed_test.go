package event_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/feed/feedtest"
)

// TestRealEventsReadBackAsTheyWereWritten, each into the memory of the one before it,
// and from JSON.
func TestRealEventsReadBackAsTheyWereWritten(t *testing.T) {
	c := newCodec(t)
	var got event.GitHubEvent
	for _, e := range feedtest.Events(t) {
		r, err := c.Record(t.Context(), e, false)
		if err != nil {
			t.Fatal(err)
		}
		if r.Topic != event.TopicEvents || event.Header(r, "ce_id") != e.Key().String() || event.Header(r, "ce_subject") != e.NameWithOwner {
			t.Fatalf("topic %s, key %s, headers %v", r.Topic, r.Key, r.Headers)
		}
		if len(r.Value) > feed.MaxBytes {
			t.Fatalf("%s has %d bytes, more than %d", e.Key(), len(r.Value), feed.MaxBytes)
		}
		if err := c.GitHubEventInto(t.Context(), r, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, *e) {
			t.Fatalf("got %+v, want %+v", got, *e)
		}
		text, err := c.JSON(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var back event.GitHubEvent
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, *e) {
			t.Fatalf("%s: %+v, want %+v (%v)", text, back, *e, err)
		}
		for _, n := range []int{0, 4, len(r.Value) / 2, len(r.Value) - 1} {
			if _, err := c.GitHubEvent(t.Context(), &kgo.Record{Value: r.Value[:n]}); !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
	}
}

func TestLedgerLineOfAFeedReadsBackAsItWasWritten(t *testing.T) {
	c := newCodec(t)
	at := time.Date(2026, 6, 1, 16, 0, 0, 0, time.UTC)
	since, from, to, reason := at.Add(-time.Hour), at.Add(-50*time.Minute), at.Add(-10*time.Minute), "300 events in less than an hour"
	full := event.FeedRead{RepoID: 9, NameWithOwner: "acme/tool", Owner: "acme", Status: feed.StatusGap, Since: &since, ReadAt: at, Events: 300,
		Requests: 3, GapFrom: &from, GapTo: &to, NextSeconds: 300, Reason: &reason}
	bare := event.FeedRead{RepoID: 9, NameWithOwner: "acme/tool", Owner: "acme", Status: feed.StatusComplete, ReadAt: at}
	var got event.FeedRead
	for _, want := range []event.FeedRead{full, bare} {
		r, err := c.Record(t.Context(), &want, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.FeedReadInto(t.Context(), r, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v (%v)", got, want, err)
		}
	}
	full.GapTo = nil
	r, err := c.Record(t.Context(), &full, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.FeedRead(t.Context(), r); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a gap without its end: %v", err)
	}
}
