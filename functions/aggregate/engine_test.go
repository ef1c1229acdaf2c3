package aggregate

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// newTestEngine is an engine on servers of its own.
func newTestEngine(t *testing.T, limits cacheLimits) (*engine, *miniredis.Miniredis) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, event.TopicBaseRepos))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	redis := miniredis.RunT(t)
	m, err := newHistoryStore("redis://" + redis.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.redis.Close() })
	return newEngine(kafka.Config{Brokers: cluster.ListenAddrs()}, codec, m, limits), redis
}

// block computes observations of repository 1 as the records of a partition
// from an offset on, as if their transaction were committed, and returns what
// was produced.
func (e *engine) block(t *testing.T, partition int32, first int64, stars ...int64) (produced []*kgo.Record) {
	t.Helper()
	p := kafka.Partition{Topic: event.TopicBaseRepos, Number: partition}
	b := kafka.Block{First: kafka.Offsets{p: first}, Next: kafka.Offsets{p: first + int64(len(stars))}}
	for i, n := range stars {
		o := event.RepoObserved{
			ID: 1, NameWithOwner: "o/r", Owner: "o", Name: "r", Stars: n, Source: "graphql", Languages: []event.Language{}, Topics: []string{},
			ObservedAt: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n) * 24 * time.Hour),
		}
		r, err := e.codec.Record(t.Context(), &o, false)
		if err != nil {
			t.Fatal(err)
		}
		r.Partition, r.Offset = partition, first+int64(i)
		b.Records = append(b.Records, r)
	}
	settle, err := e.transform(t.Context(), b, func(r *kgo.Record) { produced = append(produced, r) })
	if err != nil {
		t.Fatal(err)
	}
	if err := settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return produced
}

// A process that died may have produced the very first block of a partition, in
// a transaction whose fate is not known here.
func TestTheFirstBlockOfAPartitionMayRepeatThoughItBeginsAtZero(t *testing.T) {
	e, _ := newTestEngine(t, cacheLimits{})
	for block, want := range []bool{true, false} {
		for _, r := range e.block(t, 0, int64(block), int64(block)) {
			if got := event.Repeats(r); got != want {
				t.Errorf("block %d: may repeat: %v, want %v", block, got, want)
			}
		}
	}
}

// A repository whose history is cached unsaved may come next from a partition that
// its topic was given meanwhile.
func TestAnUnsavedHistoryGoesOnInAPartitionThatIsNew(t *testing.T) {
	e, _ := newTestEngine(t, cacheLimits{repositories: 100, unsaved: 100})
	e.block(t, 0, 0, 1, 2, 3)
	e.block(t, 1, 0, 4, 5)
	if err := e.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	stored, err := e.store.load(t.Context(), []int64{1})
	if err != nil {
		t.Fatal(err)
	}
	if h := stored[1]; h.Known != 5 || !h.has(0, 2) || !h.has(1, 1) {
		t.Errorf("stored: %d observations, applied %v; want all 5 of both partitions", h.Known, h.Applied)
	}
}

func TestHistoriesAreSavedThoughRedisLosesItsScripts(t *testing.T) {
	e, redis := newTestEngine(t, cacheLimits{})
	e.block(t, 0, 0, 1)
	// What a restart does: the data is there, the scripts are not.
	if _, err := e.store.redis.ScriptFlush(t.Context()).Result(); err != nil {
		t.Fatal(err)
	}
	e.block(t, 0, 1, 2)
	id, err := kafka.TopicID(t.Context(), e.kafka, event.TopicBaseRepos)
	if err != nil {
		t.Fatal(err)
	}
	if got := redis.HGet(stateKey, e.store.stateField(id, 0)); got != "2" {
		t.Errorf("redis is at offset %q, want 2", got)
	}
}
