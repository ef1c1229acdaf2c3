package aggregate_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// TestRegistryThatWasWipedStopsTheDrainAndBuriesNothing: with the registry in
// order again all is computed, and what no registry ever knew is a dead letter.
func TestRegistryThatWasWipedStopsTheDrainAndBuriesNothing(t *testing.T) {
	w := newWorld(t)
	if err := w.codec.Register(context.Background(), event.TypeOwnerSwept); err != nil { // or the wiped one gives its ids in the same order
		t.Fatal(err)
	}
	foreign := &kgo.Record{Topic: event.TopicBaseRepos, Key: []byte("1"), Value: []byte("\x00\x00\x00\x00\x63x")}
	if err := w.producer.ProduceSync(context.Background(), foreign).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.send(daily(1, 2)...)
	mended := w.env["SCHEMA_REGISTRY_URL"]
	wiped := httptest.NewServer(srfake.NewRegistry().Handler())
	defer wiped.Close()
	w.env["SCHEMA_REGISTRY_URL"] = wiped.URL
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := aggregate.Drain(ctx, w.env, nil); !errors.Is(err, kafka.ErrFatal) || !errors.Is(err, event.ErrUnknownSchema) {
		t.Errorf("the drain ended with %v", err)
	}
	if n := w.letters(); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	w.env["SCHEMA_REGISTRY_URL"] = mended
	w.run()
	if got, letters := len(w.rows()), w.letters(); got != 2 || letters != 1 {
		t.Errorf("%d rows and %d dead letters, want 2 and 1", got, letters)
	}
}

// TestRegistryThatGivesItsIDsAnewIsNotWrittenWith: it knows the id of what is read,
// but would give what is written the id that another type had.
func TestRegistryThatGivesItsIDsAnewIsNotWrittenWith(t *testing.T) {
	w := newWorld(t)
	w.send(daily(1, 2)...)
	if err := w.codec.Register(context.Background(), event.TypeOwnerSwept); err != nil {
		t.Fatal(err)
	}
	w.run()
	mended := w.env["SCHEMA_REGISTRY_URL"]
	wiped := httptest.NewServer(srfake.NewRegistry().Handler())
	defer wiped.Close()
	w.env["SCHEMA_REGISTRY_URL"] = wiped.URL
	w.send(daily(2, 2)...)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	other, err := event.NewCodec(wiped.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Register(ctx, event.TypeRepoObserved); err != nil { // as fetch-org would
		t.Fatal(err)
	}
	if err := aggregate.Drain(ctx, w.env, nil); !errors.Is(err, kafka.ErrFatal) || !errors.Is(err, event.ErrUnknownSchema) {
		t.Errorf("the drain ended with %v", err)
	}
	w.env["SCHEMA_REGISTRY_URL"] = mended
	w.run()
	if got, letters := len(w.rows()), w.letters(); got != 4 || letters != 0 {
		t.Errorf("%d rows and %d dead letters, want 4 and none", got, letters)
	}
}

// letters counts the dead letters.
func (w *world) letters() (n int64) {
	w.t.Helper()
	ends, err := kafka.Ends(context.Background(), w.kafka, event.DeadLetterTopic(event.TopicBaseRepos))
	if err != nil {
		w.t.Fatal(err)
	}
	for p, end := range ends {
		if err := kafka.ReadRange(context.Background(), w.kafka, p, 0, end, func(records []*kgo.Record, _ int64) error {
			n += int64(len(records))
			return nil
		}); err != nil {
			w.t.Fatal(err)
		}
	}
	return n
}
