package replay_test

import (
	"fmt"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// servers are a Kafka with topics, and a codec over a schema registry.
func servers(t *testing.T, topics ...kfake.Opt) (kafka.Config, *event.Codec) {
	t.Helper()
	broker, err := kfake.NewCluster(append(topics, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	schemas := srfake.New()
	t.Cleanup(schemas.Close)
	codec, err := event.NewCodec(schemas.URL())
	if err != nil {
		t.Fatal(err)
	}
	return kafka.Config{Brokers: broker.ListenAddrs()}, codec
}

// Whoever drains the topic hears of a burst by few bells, and of a single record
// soon, whether or not more is sent.
func TestReplayRingsForWhatItWrote(t *testing.T) {
	cfg, codec := servers(t, kfake.SeedTopics(2, event.TopicBaseRepos), kfake.SeedTopics(1, event.BellTopic(event.TopicBaseRepos)))
	k, err := replay.NewToKafka(cfg, codec, "")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	send := func(id int) {
		t.Helper()
		e := cloudevents.NewEvent()
		e.SetID(fmt.Sprint(id))
		e.SetSource("/test")
		e.SetType(event.TypeRepoObserved)
		if err := e.SetData(event.ContentJSON, map[string]any{"repo_id": id, "name_with_owner": "a/b", "stars": 1, "observed_at": "2026-01-02T00:00:00Z"}); err != nil {
			t.Fatal(err)
		}
		if err := k.Send(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	bells := func() int64 {
		t.Helper()
		ends, err := kafka.Ends(t.Context(), cfg, event.BellTopic(event.TopicBaseRepos))
		if err != nil {
			t.Fatal(err)
		}
		return ends[kafka.Partition{Topic: event.BellTopic(event.TopicBaseRepos)}]
	}
	began := time.Now()
	for i := range 2_000 {
		send(i + 1)
	}
	if err := k.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	burst, most := bells(), 2+int64(time.Since(began)/(200*time.Millisecond))
	if burst < 1 || burst > most {
		t.Errorf("%d bells for a burst that took %s, want 1 to %d", burst, time.Since(began).Round(time.Millisecond), most)
	}
	send(2_001) // and nothing after it
	for end := time.Now().Add(5 * time.Second); bells() == burst; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no bell within 5 s of a record that nothing follows")
		}
	}
}
