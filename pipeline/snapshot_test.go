package pipeline

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/audit"
	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// behind is a pipeline of aggregate alone, whose topic has 5 records.
type behind struct {
	*Pipeline
	t     *testing.T
	kafka *kgo.Client
	woken []string
	stuck bool // a wake does nothing
}

func newBehind(t *testing.T) *behind {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSweeps, event.TopicEvents, event.TopicFeedReads, event.TopicSignals))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	cfg := kafka.Config{Brokers: broker.ListenAddrs()}
	client, err := kafka.NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for range 5 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: event.TopicBaseRepos, Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return &behind{Pipeline: &Pipeline{Log: audit.Log{Kafka: cfg}, stages: []Stage{aggregateStage{kafka: cfg}}}, t: t, kafka: client}
}

// commit has aggregate be done with the records before an offset.
func (b *behind) commit(next int64) {
	b.t.Helper()
	var offsets kadm.Offsets
	offsets.AddOffset(event.TopicBaseRepos, 0, next, -1)
	if err := kadm.NewClient(b.kafka).CommitAllOffsets(b.t.Context(), aggregate.Group, offsets); err != nil {
		b.t.Fatal(err)
	}
}

// Replays implements Runner.
func (b *behind) Replays() (int, error) { return 0, nil }

// Wake implements Runner: the function does what is left.
func (b *behind) Wake(_ context.Context, function string) error {
	b.woken = append(b.woken, function)
	if !b.stuck {
		b.commit(5)
	}
	return nil
}

func TestASnapshotCountsWhatAFunctionHasNotStored(t *testing.T) {
	b := newBehind(t)
	check := func(want map[string]int64) {
		t.Helper()
		at, err := b.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(at.Lag, want) || at.AtRest() != (len(want) == 0) {
			t.Errorf("lag %v, at rest %v; want %v", at.Lag, at.AtRest(), want)
		}
	}
	check(map[string]int64{"aggregate": 5})
	b.commit(3)
	check(map[string]int64{"aggregate": 2})
	b.commit(5)
	check(nil)
}

func TestAFunctionThatIsBehindIsWoken(t *testing.T) {
	b := newBehind(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	at, err := b.WaitAtRest(ctx, b)
	if err != nil || !at.AtRest() || strings.Join(b.woken, " ") != "aggregate" {
		t.Errorf("woken %v, %v", b.woken, err)
	}
}

func TestTheWaitSaysWhatIsLeft(t *testing.T) {
	b := newBehind(t)
	b.stuck = true
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := b.WaitAtRest(ctx, b); err == nil || !strings.Contains(err.Error(), "aggregate:5") {
		t.Errorf("got %v", err)
	}
}
