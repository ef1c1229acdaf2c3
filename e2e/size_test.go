package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

// TestRecordsThatOutgrowKafkaAreProcessedOrDeadLetters sends what Kafka takes, but
// what does not fit any more once it is processed or a dead letter. After each such
// record comes a good one with the same key, so in the same partition.
func TestRecordsThatOutgrowKafkaAreProcessedOrDeadLetters(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty")
	const key = "22"
	last := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	observation := func(topics ...string) event.RepoObserved {
		last = last.Add(time.Hour)
		return event.RepoObserved{ID: 22, NameWithOwner: "a/large", Owner: "a", Name: "large", Stars: 5, ObservedAt: last, Source: "replay", SweepID: "s", Topics: topics, Languages: []event.Language{}}
	}
	post := func(o event.RepoObserved) int {
		t.Helper()
		body, err := json.Marshal(&o)
		if err != nil {
			t.Fatal(err)
		}
		status, text := p.post("AGGREGATE_URL", event.TypeRepoObserved, event.ContentJSON, string(body))
		t.Logf("an observation of %d bytes is answered %d %.80s", len(body), status, text)
		return status
	}
	// 900 topics of this size together, around what is accepted.
	wide := func(bytes int) (topics []string) {
		for range 900 {
			topics = append(topics, strings.Repeat("t", bytes/900))
		}
		return topics
	}
	accepted := int64(0)
	for _, bytes := range []int{880_000, 890_000, 895_000, 900_000, 960_000, 997_000} {
		switch status := post(observation(wide(bytes)...)); status {
		case 204:
			accepted++
		case 413, 422:
		default:
			t.Errorf("an observation of %d bytes is answered %d, want 204, 413 or 422", bytes, status)
		}
	}
	if accepted == 0 || accepted == 6 {
		t.Errorf("%d of 6 sizes are accepted: they do not lie around the limit", accepted)
	}

	// A letter shows a record in JSON, where < takes six bytes, and in base64.
	letters := int64(0)
	for _, topic := range []string{event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSweeps} {
		for _, bytes := range []int{150_000, 999_000, event.TopicBatch - 1_000} {
			p.produce(topic, key, strings.Repeat("<", bytes))
			letters++
		}
	}
	// As large as the topic takes: no header can be added to it.
	p.produce(event.TopicBaseRepos, key, strings.Repeat("<", event.TopicBatch-78))
	letters++
	// What a foreign producer may write, though no door accepts it.
	codec, err := event.NewCodec(p.address("SCHEMA_REGISTRY_URL"))
	if err != nil {
		t.Fatal(err)
	}
	large := observation(wide(997_000)...)
	r, err := codec.Record(context.Background(), &large, false)
	if err != nil {
		t.Fatal(err)
	}
	p.produce(r.Topic, key, string(r.Value))
	letters++

	if status := post(observation()); status != 204 {
		t.Errorf("a good observation behind them is answered %d", status)
	}
	p.want(accepted+1, 1)
	waiting := func() {
		t.Helper()
		var places []struct {
			Topic     string
			Partition int
			Offset    int64
		}
		a := p.audit() // which waits until nothing is at work
		p.json(&places, "dlq", "list")
		once := map[string]bool{}
		for _, l := range places {
			once[fmt.Sprint(l)] = true
		}
		if int64(len(places)) != letters || int64(len(once)) != letters || a.DeadLetters != letters {
			t.Errorf("%d letters of %d records are listed, %d counted, want %d", len(places), len(once), a.DeadLetters, letters)
		}
	}
	waiting()
	// Each is whole when it is sent again, and becomes a dead letter again. The one that cannot
	// be sent again is named, and keeps none of the others.
	out, err := p.try("dlq", "retry", "--all")
	if err == nil || int64(strings.Count(out, " retried\n")) != letters-1 || strings.Count(out, "can only be dropped") != 1 {
		t.Errorf("dlq retry --all: %v\n%s", err, out)
	}
	waiting()
	p.run("dlq", "drop", "--all")
	letters = 0
	waiting()
	p.want(accepted+1, 1)
}
