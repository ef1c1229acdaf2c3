package event_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// TestRowsOfEarlierVersionsAreReadByThis: an aggregate from before the upgrade
// goes on writing while the sinks are new already. What it did not know is
// unknown; the rates that it wrote are passed over, as they follow from the rest.
func TestRowsOfEarlierVersionsAreReadByThis(t *testing.T) {
	for version := 1; version <= 2; version++ {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) { readsEarlier(t, version) })
	}
}

func readsEarlier(t *testing.T, version int) {
	text, err := os.ReadFile(fmt.Sprintf("schemas/history/github.processed_repos-value/%d.avsc", version))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := avro.ParseWithCache(string(text), "", &avro.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	type first struct {
		repo.Observation
		ProcessedAt  time.Time  `avro:"processed_at"`
		Revision     int64      `avro:"revision"`
		Late         bool       `avro:"late"`
		BaseAt7d     *time.Time `avro:"base_at_7d"`
		StarsDelta7d *int64     `avro:"stars_delta_7d"`
		Rate         *float64   `avro:"commits_total_per_day_30d"`
	}
	o := observation()
	gained, rate, base := int64(-5), 1.25, o.ObservedAt.AddDate(0, 0, -7)
	row := first{Observation: o, ProcessedAt: o.ObservedAt, Revision: 3, Late: true, BaseAt7d: &base, StarsDelta7d: &gained, Rate: &rate}
	body, err := avro.Marshal(schema, row)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(srfake.NewRegistry().Handler())
	defer server.Close()
	registry, err := sr.NewClient(sr.URLs(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	registered, err := registry.CreateSchema(ctx, event.TopicProcessedRepos+"-value", sr.Schema{Schema: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	codec, err := event.NewCodec(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := codec.Register(ctx, event.TypeRepoProcessed); err != nil { // this version, beside it
		t.Fatal(err)
	}
	value := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(registered.ID)), body...)
	got, err := codec.Processed(ctx, &kgo.Record{Value: value})
	if err != nil {
		t.Fatal(err)
	}
	if got.Stars != o.Stars || got.NameWithOwner != o.NameWithOwner || got.Revision != 3 || !got.Late || got.Forks == nil || *got.Forks != *o.Forks {
		t.Errorf("got %+v", got)
	}
	var want velocity.Velocities
	want.SetInt(velocity.BaseAt(velocity.Week), base.UnixMilli())
	want.SetInt(velocity.Delta(velocity.Stars, velocity.Week), gained)
	if got.Velocities != want {
		t.Errorf("got %v, want %v", got.Velocities.Values(), want.Values())
	}
}
