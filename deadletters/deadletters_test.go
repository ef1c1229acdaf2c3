package deadletters_test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/deadletters"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka/kafkatest"
)

// TestLetterIsSettledWhicheverPartitionSaysSo: the note that settles a letter may
// be read before the letter.
func TestLetterIsSettledWhicheverPartitionSaysSo(t *testing.T) {
	var topics []string
	for _, c := range event.Contracts() {
		topics = append(topics, event.DeadLetterTopic(c.Topic))
	}
	cfg, put := kafkatest.Broker(t, 2, topics...)
	for partition := range int32(2) {
		letter := event.NewDeadLetter("stage", &kgo.Record{Topic: event.TopicBaseRepos, Partition: partition, Value: []byte("invalid")}, errors.New("a reason"))
		r, err := letter.Record()
		if err != nil {
			t.Fatal(err)
		}
		put(partition, r)
		note, err := letter.Settle(event.Dropped, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		put(1-partition, note)
	}
	letters, err := deadletters.List(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(letters) != 2 {
		t.Errorf("%d letters, want 2", len(letters))
	}
	for _, l := range letters {
		if l.Settled != event.Dropped {
			t.Errorf("%s is settled %q", l.ID(), l.Settled)
		}
	}
}
