package retention

import (
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/infra/knative"
)

func TestRecordsThatATopicHasKeptLongEnoughAreDue(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const day = 24 * time.Hour
	week, always := "604800000", "-1"
	for topic, ms := range map[string]*string{"week": &week, "always": &always, "empty": &week} {
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 2, 1, map[string]*string{"retention.ms": ms}, topic); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now().Truncate(time.Millisecond).UTC()
	for _, topic := range []string{"week", "always"} {
		for i, age := range []time.Duration{9 * day, 8 * day, 6 * day, 0} {
			for partition := range int32(2) {
				r := &kgo.Record{Topic: topic, Partition: partition, Value: []byte("v"), Timestamp: began.Add(-age - time.Duration(partition)*day)}
				if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatalf("record %d: %v", i, err)
				}
			}
		}
	}
	topics := []knative.Topic{{Name: "week"}, {Name: "always"}, {Name: "empty"}, {Name: "not.there"}}
	for _, test := range []struct {
		later time.Duration
		due   int64
	}{{0, 4}, {12 * time.Hour, 5}, {36 * time.Hour, 6}, {30 * day, 8}} {
		kept, err := readKafka(t.Context(), map[string]string{"KAFKA_BROKERS": broker.ListenAddrs()[0]}, topics, began.Add(test.later))
		if err != nil || len(kept) != 3 {
			t.Fatalf("%+v %v", kept, err)
		}
		for i, want := range []Kept{
			{What: "week", Unit: "records", For: 7 * day, Count: 8, Due: test.due},
			{What: "always", Unit: "records", For: Forever, Count: 8},
			{What: "empty", Unit: "records", For: 7 * day},
		} {
			got := kept[i]
			if (got.Oldest == nil) != (want.Count == 0) || got.Oldest != nil && !got.Oldest.Equal(began.Add(-10*day)) {
				t.Errorf("%s: the oldest is of %v", want.What, got.Oldest)
			}
			if got.Oldest, got.Bytes = nil, 0; got != want {
				t.Errorf("%s later: %+v, want %+v", test.later, got, want)
			}
		}
	}
}

func TestKeysAreCountedByKindAndByTheTimeTheyHaveLeft(t *testing.T) {
	server := miniredis.RunT(t)
	for key, left := range map[string]time.Duration{
		"github:pipeline:history:{1}": 65 * 24 * time.Hour, "github:pipeline:history:{2}": 64 * 24 * time.Hour, "github:pipeline:history:{3}": 0,
		"{github:pipeline:sweep:a:b}:done": time.Hour, "github:pipeline:state": 0, "somebody:else": 0,
	} {
		if err := server.Set(key, "v"); err != nil {
			t.Fatal(err)
		}
		if left > 0 {
			server.SetTTL(key, left)
		}
	}
	read := func() []Kept {
		kept, err := readRedis(t.Context(), "redis://"+server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for i := range kept {
			kept[i].Bytes = 0
		}
		slices.SortFunc(kept, func(a, b Kept) int { return int(b.For - a.For) })
		return kept
	}
	got := read()
	want := map[Kept]bool{
		{What: "history", Unit: "keys", For: 65 * 24 * time.Hour, Count: 2}: true, {What: "history", Unit: "keys", For: Forever, Count: 1}: true,
		{What: "sweep", Unit: "keys", For: time.Hour, Count: 1}: true, {What: "state", Unit: "keys", For: Forever, Count: 1}: true,
	}
	for _, k := range got {
		if !want[k] {
			t.Errorf("%+v is not expected", k)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d kinds, want %d", len(got), len(want))
	}
	server.FastForward(64*24*time.Hour + time.Minute)
	left := 0
	for _, k := range read() {
		if k.For > 24*time.Hour {
			t.Errorf("64 days later: %+v", k)
		}
		left += int(k.Count)
	}
	if left != 3 { // a history that has a day left, the one without an end, and the state
		t.Errorf("64 days later %d keys are there", left)
	}
}

func TestTheTimeOfATableIsReadFromItsDefinition(t *testing.T) {
	for engine, want := range map[string][]string{
		"ReplacingMergeTree ORDER BY (a, b) TTL toDateTime(checked_at) + toIntervalDay(400) SETTINGS index_granularity = 8192":                {"toDateTime(checked_at)", "Day", "400"},
		"MergeTree PARTITION BY toDate(Timestamp) ORDER BY x TTL toDateTime(Timestamp) + toIntervalHour(72) SETTINGS ttl_only_drop_parts = 1": {"toDateTime(Timestamp)", "Hour", "72"},
		"MergeTree ORDER BY x TTL at + toIntervalWeek(1)": {"at", "Week", "1"},
		"MergeTree ORDER BY x SETTINGS a = 1":             nil,
	} {
		var got []string
		if m := ttl.FindStringSubmatch(engine); m != nil {
			got = m[1:]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", engine, got, want)
		}
	}
}
