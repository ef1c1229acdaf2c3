package event_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

func TestASignalOfEachKindReadsBackAsItWasWritten(t *testing.T) {
	c := newCodec(t)
	at := time.Date(2026, 6, 1, 16, 0, 0, 0, time.UTC)
	var got event.Signal
	for _, kind := range signal.Kinds() {
		s := signal.New(kind.Kind)
		s.Owner, s.ObservedAt, s.Evidence = "Acme", at, "2026-06-01T16:00:00Z/acme"
		if kind.Function == "aggregate" {
			s.RepoID, s.NameWithOwner, s.Company, s.Evidence = new(int64(-7)), new("Acme/tool"), new("acme corp"), "-7@1780329600000"
			s.Metric, s.Value, s.Usual, s.Window = new("forks"), new(312.), new(14.5), new("24h")
		}
		s.Say("%s: %s\x00 <b>\u202e", kind.Kind, strings.Repeat("ä", 1000))
		s.Identify()
		r, err := c.Record(t.Context(), s, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SignalInto(t.Context(), r, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, *s) {
			t.Fatalf("got %+v, want %+v", got, *s)
		}
		if r.Topic != event.TopicSignals || event.Header(r, "ce_id") != s.ID || event.Header(r, "ce_source") != "/m7pulse/"+kind.Function || !event.Repeats(r) ||
			event.Header(r, "ce_kind") != kind.Kind || event.Header(r, "ce_severity") != kind.Severity {
			t.Errorf("%s: topic %s, headers %v", kind.Kind, r.Topic, r.Headers)
		}
		text, err := c.JSON(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var back event.Signal
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, *s) {
			t.Fatalf("%s: %+v, want %+v (%v)", text, back, *s, err)
		}
		for _, n := range []int{0, 4, len(r.Value) / 2, len(r.Value) - 1} {
			if _, err := c.Signal(t.Context(), &kgo.Record{Value: r.Value[:n]}); !errors.Is(err, event.ErrInvalid) {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
	}
}

func TestAnImpossibleSignalIsRefused(t *testing.T) {
	f := func(want string, change func(*signal.Signal)) {
		t.Helper()
		s := signal.New(signal.CounterFallen)
		s.RepoID, s.NameWithOwner, s.Owner, s.Metric, s.ObservedAt = new(int64(7)), new("acme/tool"), "acme", new("forks"), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
		s.Identify()
		change(s)
		err := s.Validate(time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("", func(*signal.Signal) {})
	f("kind", func(s *signal.Signal) { s.Kind = "outage" })
	f("severity", func(s *signal.Signal) { s.Severity = signal.Critical })
	f("signal_id", func(s *signal.Signal) { s.ID = "counter_fallen/7@0/forks" })
	f("signal_id", func(s *signal.Signal) { *s.Metric = "stars" })
	f("owner", func(s *signal.Signal) { s.Owner = "" })
	f("only one", func(s *signal.Signal) { s.NameWithOwner = nil })
	f("observed_at", func(s *signal.Signal) { s.ObservedAt = s.ObservedAt.AddDate(1, 0, 0) })
	f("words", func(s *signal.Signal) { s.Words = "two\nlines" })
	f("evidence", func(s *signal.Signal) { s.Evidence = strings.Repeat("x", 1<<10+1) })
}
