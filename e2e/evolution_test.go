package e2e

import (
	"context"
	encoding "encoding/binary"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/m7pulse/m7pulse/infra/local/registry"
	"github.com/m7pulse/m7pulse/shared/event"
)

// widened is the schema of RepoObserved with one more field at its end.
func widened(t *testing.T, field string) (now, next string) {
	t.Helper()
	c, err := event.ContractOf(event.TypeRepoObserved)
	if err != nil {
		t.Fatal(err)
	}
	end := strings.LastIndex(c.Schema, "]")
	return c.Schema, c.Schema[:end] + "," + field + c.Schema[end:]
}

const (
	sponsors = `{"name": "sponsors", "type": ["null", "long"], "default": null}`
	required = `{"name": "sponsors", "type": "long"}`
)

// TestAFieldIsAddedWhileOldAndNewProducersWriteSideBySide: consumers that do not
// know the field go on without a restart, and nothing becomes a dead letter.
func TestAFieldIsAddedWhileOldAndNewProducersWriteSideBySide(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty")
	ctx := context.Background()
	codec, err := event.NewCodec(p.address("SCHEMA_REGISTRY_URL"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.address("KAFKA_BROKERS")))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	next := 0 // the id of the new schema; 0 = still the old
	send := func(day int) {
		t.Helper()
		r, err := codec.Record(ctx, &event.RepoObserved{
			ID: 7, NameWithOwner: "a/b", Owner: "a", Name: "b", Stars: int64(100 + 3*day), Source: "e2e",
			ObservedAt: time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC), Languages: []event.Language{}, Topics: []string{},
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		if next != 0 { // in Avro a record is its fields one after another
			encoding.BigEndian.PutUint32(r.Value[1:], uint32(next))
			r.Value = append(r.Value, 2, 84) // 42 sponsors
		}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	send(0)
	p.audit()
	before := map[string]int64{}
	for _, f := range p.status().Functions {
		before[f.Name] = f.Starts
	}

	schemas, err := sr.NewClient(sr.URLs(p.address("SCHEMA_REGISTRY_URL")))
	if err != nil {
		t.Fatal(err)
	}
	_, schema := widened(t, sponsors)
	added, err := schemas.CreateSchema(ctx, event.TopicBaseRepos+"-value", sr.Schema{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	for day := 1; day <= 6; day++ {
		if next = 0; day%2 == 1 {
			next = added.ID
		}
		send(day)
	}
	if a := p.audit(); a.Observations != 7 || a.ClickHouse != 7 || a.IcebergRaw != 7 || a.IcebergProcessed != 7 || a.DeadLetters != 0 || !a.Clean {
		t.Errorf("audit: %+v", a)
	}
	if got := p.query("SELECT count(), sum(stars_delta_24h), max(stars) FROM pulse.github_metrics_timeseries"); got != "7 18 118" {
		t.Errorf("rows, stars gained, stars: %s, want 7 18 118", got)
	}
	for _, f := range p.status().Functions {
		if f.Starts != before[f.Name] {
			t.Errorf("%s was started %d times, then %d: it must not restart", f.Name, before[f.Name], f.Starts)
		}
	}
	// What could not read the records that are there is refused.
	_, schema = widened(t, required)
	if _, err := schemas.CreateSchema(ctx, event.TopicBaseRepos+"-value", sr.Schema{Schema: schema}); err == nil || !strings.Contains(err.Error(), "cannot read the data of version") {
		t.Errorf("a required field without a default was taken: %v", err)
	}
}

// TestProducerSaysThatItsSchemaIsRefused: a subject that another program has
// taken for something else stops the producer before its first record.
func TestProducerSaysThatItsSchemaIsRefused(t *testing.T) {
	t.Parallel()
	r, err := registry.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	schemas, err := sr.NewClient(sr.URLs(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	now, _ := widened(t, sponsors)
	foreign := strings.Replace(now, `"name": "stars", "type": "long"`, `"name": "stars", "type": "string"`, 1)
	if foreign == now {
		t.Fatal("the schema has no stars")
	}
	if _, err := schemas.CreateSchema(t.Context(), event.TopicBaseRepos+"-value", sr.Schema{Schema: foreign}); err != nil {
		t.Fatal(err)
	}
	codec, err := event.NewCodec(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	err = codec.Register(t.Context(), event.TypeRepoObserved)
	for _, want := range []string{"register the schema of github.base_repos-value", "incompatible", "cannot read the data of version 1", "stars"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
}
