package backfill

import (
	"context"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed/feedtest"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

func TestEventsAreProducedInTheFormOfFetchEventsAndRungFor(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, event.TopicEvents), kfake.SeedTopics(1, event.BellTopic(event.TopicEvents)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(brokers.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	cfg := kafka.Config{Brokers: brokers.ListenAddrs()}
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	to, err := NewToKafka(cfg, codec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	want := map[string]*event.GitHubEvent{}
	for _, e := range feedtest.Events(t)[:200] {
		e.Source = "gharchive"
		want[e.Key().String()] = e
		ctx, read := context.WithCancel(t.Context())
		err := to.Send(ctx, e)
		read() // the hour is read before all of it is acknowledged
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // nothing new: no bell
		if err := to.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got, bells := map[string]*event.GitHubEvent{}, 0
	for _, topic := range []string{event.TopicEvents, event.BellTopic(event.TopicEvents)} {
		ends, err := kafka.Ends(t.Context(), cfg, topic)
		if err != nil {
			t.Fatal(err)
		}
		for p, end := range ends {
			err := kafka.ReadRange(t.Context(), cfg, p, 0, end, func(records []*kgo.Record, _ int64) error {
				for _, r := range records {
					if topic != event.TopicEvents {
						bells++
						continue
					}
					e, err := codec.GitHubEvent(t.Context(), r)
					if err != nil {
						return err
					}
					got[e.Key().String()] = e
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if bells != 1 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d bells, %d events, want 1 and %d equal ones", bells, len(got), len(want))
	}
}
