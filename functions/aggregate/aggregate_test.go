package aggregate_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// world is the servers that aggregate needs.
type world struct {
	t        *testing.T
	cluster  *kfake.Cluster
	kafka    kafka.Config
	codec    *event.Codec
	redis    *miniredis.Miniredis
	producer *kgo.Client
	env      map[string]string
}

// long skips a test that is only slow when tests run with -short, as in `make
// test`. `make property-test` runs them all.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: make property-test runs it")
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(12, event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSignals), kfake.SeedTopics(1, event.DeadLetterTopic(event.TopicBaseRepos), event.BellTopic(event.TopicProcessedRepos)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	w := &world{t: t, cluster: cluster, kafka: kafka.Config{Brokers: cluster.ListenAddrs()}, redis: miniredis.RunT(t)}
	if w.codec, err = event.NewCodec(registry.URL); err != nil {
		t.Fatal(err)
	}
	if w.producer, err = kafka.NewProducer(w.kafka); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.producer.Close)
	w.env = map[string]string{
		"KAFKA_BROKERS": cluster.ListenAddrs()[0], "SCHEMA_REGISTRY_URL": registry.URL, "REDIS_URL": "redis://" + w.redis.Addr(),
		"AGGREGATE_BLOCK_RECORDS": "2000",
	}
	return w
}

func (w *world) send(observations ...event.RepoObserved) {
	w.t.Helper()
	for _, o := range observations {
		r, err := w.codec.Record(context.Background(), &o, true)
		if err != nil {
			w.t.Fatal(err)
		}
		w.producer.Produce(context.Background(), r, nil)
	}
	if err := w.producer.Flush(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// run starts the function, lets it do all there is to do, and stops it.
func (w *world) run() {
	w.t.Helper()
	f := aggregate.New()
	if err := f.Start(context.Background(), w.env); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
	if err := f.Stop(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// settle waits until the group has committed all of the topic.
func (w *world) settle() {
	w.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		ends, err := kafka.Ends(context.Background(), w.kafka, event.TopicBaseRepos)
		if err != nil {
			w.t.Fatal(err)
		}
		done, err := kafka.Committed(context.Background(), w.kafka, aggregate.Group, event.TopicBaseRepos)
		if err != nil {
			w.t.Fatal(err)
		}
		behind := false
		for p, end := range ends {
			behind = behind || done[p] < end
		}
		if !behind {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not settled: %v of %v", done, ends)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// records reads all processed records in the order of each partition.
func (w *world) records() (all []*kgo.Record) {
	w.t.Helper()
	ends, err := kafka.Ends(context.Background(), w.kafka, event.TopicProcessedRepos)
	if err != nil {
		w.t.Fatal(err)
	}
	for p, end := range ends {
		err := kafka.ReadRange(context.Background(), w.kafka, p, 0, end, func(records []*kgo.Record, _ int64) error {
			all = append(all, records...)
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// rows reads all processed rows in the order of each partition.
func (w *world) rows() (out []event.RepoProcessed) {
	w.t.Helper()
	for _, r := range w.records() {
		row, err := w.codec.Processed(context.Background(), r)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, *row)
	}
	return out
}

// series is the first row of each observation: what a history holds.
func series(rows []event.RepoProcessed) map[repo.Key]event.RepoProcessed {
	out := map[repo.Key]event.RepoProcessed{}
	for _, r := range rows {
		if _, ok := out[r.Key()]; !ok {
			out[r.Key()] = r
		}
	}
	return out
}

// state is the row of each repository that wins: the newest observation in its
// newest statement.
func state(rows []event.RepoProcessed) map[int64]event.RepoProcessed {
	out := map[int64]event.RepoProcessed{}
	for _, r := range rows {
		best, ok := out[r.ID]
		if !ok || r.ObservedAt.After(best.ObservedAt) || r.ObservedAt.Equal(best.ObservedAt) && r.Revision > best.Revision {
			out[r.ID] = r
		}
	}
	return out
}

// every thins out the recording: 3 takes a quarter of the repositories, which
// have uneven ids.
var every = flag.Int64("recording.every", 9, "take the recorded repositories whose id is divisible by this")

// recording returns the recorded observations of the repositories whose id is
// divisible by every, by repository and in order.
func recording(t *testing.T) map[int64][]event.RepoObserved {
	t.Helper()
	all, err := recorded()
	if err != nil {
		t.Fatal(err)
	}
	return maps.Clone(all)
}

var recorded = sync.OnceValues(func() (map[int64][]event.RepoObserved, error) {
	f, err := os.Open("../../data/m7-2025.jsonl.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	out := map[int64][]event.RepoObserved{}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		// To decode all lines would take longer than the tests.
		_, id, _ := bytes.Cut(lines.Bytes(), []byte(`"repo_id":`))
		id, _, _ = bytes.Cut(id, []byte(","))
		if n, err := strconv.ParseInt(string(id), 10, 64); err != nil {
			return nil, fmt.Errorf("line %s: %w", lines.Bytes(), err)
		} else if n%*every != 0 {
			continue
		}
		var e struct {
			Data event.RepoObserved `json:"data"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		e.Data.Normalize()
		out[e.Data.ID] = append(out[e.Data.ID], e.Data)
	}
	if len(out) < 10 {
		return nil, fmt.Errorf("%d repositories of the recording", len(out))
	}
	return out, lines.Err()
})

// slowly computes velocities by the definitions alone, over all observations of
// a repository up to one: the base is the latest with t−2w ≤ b ≤ t−w+s. What is
// left out here has tables of its own in the package velocity.
func slowly(all []event.RepoObserved, o event.RepoObserved) velocity.Velocities {
	var v velocity.Velocities
	for s, w := range velocity.Windows() {
		span := velocity.Span(s)
		base := slowBase(all, w, o.ObservedAt)
		if base == nil {
			continue
		}
		v.SetInt(velocity.BaseAt(span), base.ObservedAt.UnixMilli())
		now, then := counts(&o), counts(base)
		for i, name := range velocity.Counters() {
			if now[name] != nil && then[name] != nil {
				v.SetInt(velocity.Delta(velocity.Value(i), span), *now[name]-*then[name])
			}
		}
		oldest := o.ObservedAt.Add(-2 * w.Length)
		if span == velocity.Week {
			oldest = oldest.AddDate(0, 0, -1)
		}
		if before := slowBase(all, w, base.ObservedAt); before != nil && span != velocity.Hour && !before.ObservedAt.Before(oldest) {
			late := float64(o.Stars-base.Stars) / days(base, &o)
			early := float64(base.Stars-before.Stars) / days(before, base)
			v.SetFloat(velocity.StarsAcceleration(span), (late-early)/days(base, &o))
		}
	}
	if base := slowBase(all, velocity.Windows()[velocity.Day], o.ObservedAt); base != nil {
		x := float64(o.Stars-base.Stars) / days(base, &o)
		var rates []float64
		for i := 1; i < len(all); i++ {
			at := all[i].ObservedAt
			if o.ObservedAt.Sub(all[i-1].ObservedAt) > 60*24*time.Hour {
				continue // further back than is remembered
			}
			if !at.After(base.ObservedAt) && base.ObservedAt.Truncate(24*time.Hour).Sub(at.Truncate(24*time.Hour)) < 30*24*time.Hour {
				rates = append(rates, float64(all[i].Stars-all[i-1].Stars)/days(&all[i-1], &all[i]))
			}
		}
		if len(rates) >= 10 {
			var mean, variance float64
			for _, r := range rates {
				mean += r / float64(len(rates))
			}
			for _, r := range rates {
				variance += (r - mean) * (r - mean) / float64(len(rates))
			}
			v.SetFloat(velocity.BreakoutZ, (x-mean)/max(math.Sqrt(variance), math.Sqrt(max(0, mean)), 1))
		}
	}
	return v
}

// counts are the counters of an observation by their names.
func counts(o *event.RepoObserved) map[string]*int64 {
	out := map[string]*int64{}
	for _, f := range repo.Fields() {
		switch at := f.At.(type) {
		case func(*event.RepoObserved) *int64:
			out[f.Name] = at(o)
		case func(*event.RepoObserved) **int64:
			out[f.Name] = *at(o)
		}
	}
	return out
}

func slowBase(all []event.RepoObserved, w velocity.Window, t time.Time) (base *event.RepoObserved) {
	slack := time.Hour
	if w.Length == time.Hour {
		slack = 15 * time.Minute
	}
	for j := range all {
		b := &all[j]
		if b.ObservedAt.Before(t.Add(-2*w.Length)) || b.ObservedAt.After(t.Add(-w.Length+slack)) {
			continue
		}
		if base == nil || b.ObservedAt.After(base.ObservedAt) {
			base = b
		}
	}
	return base
}

func days(from, to *event.RepoObserved) float64 {
	return to.ObservedAt.Sub(from.ObservedAt).Hours() / 24
}

var definitions = velocity.Definitions()

func same(t *testing.T, what string, got event.RepoProcessed, want velocity.Velocities) {
	t.Helper()
	for i, d := range definitions {
		f := velocity.Field(i)
		if f > velocity.StarsAcceleration(velocity.Month) && f != velocity.BreakoutZ {
			continue
		}
		switch {
		case got.Has(f) != want.Has(f):
			t.Fatalf("%s of %s at %s: %s known: %v, want %v", what, got.NameWithOwner, got.ObservedAt, d.Name, got.Has(f), want.Has(f))
		case !got.Has(f):
		case d.Kind == field.Float:
			if a, b := *got.Float(f), *want.Float(f); math.Abs(a-b) > 1e-6*(1+math.Abs(b)) {
				t.Fatalf("%s of %s at %s: %s is %v, want %v", what, got.NameWithOwner, got.ObservedAt, d.Name, a, b)
			}
		default:
			if a, b := *got.Int(f), *want.Int(f); a != b {
				t.Fatalf("%s of %s at %s: %s is %v, want %v", what, got.NameWithOwner, got.ObservedAt, d.Name, a, b)
			}
		}
	}
}

func TestRecordingInterleavedAndSentTwiceGivesTheRowsOfTheDefinition(t *testing.T) {
	w, byRepo := newWorld(t), recording(t)
	rng := rand.New(rand.NewPCG(1, 1))
	// Every observation twice, each repository's in order, repositories mixed.
	queues := map[int64][]event.RepoObserved{}
	var turns []int64
	for id, all := range byRepo {
		for _, o := range all {
			queues[id] = append(queues[id], o, o)
			turns = append(turns, id, id)
		}
	}
	slices.Sort(turns)
	rng.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	var mixed []event.RepoObserved
	for _, id := range turns {
		mixed = append(mixed, queues[id][0])
		queues[id] = queues[id][1:]
	}
	w.send(mixed...)
	w.run()
	w.exact(byRepo)
}

func TestRecordingShuffledGivesTheSameCurrentState(t *testing.T) {
	w, byRepo := newWorld(t), recording(t)
	all := slices.Concat(slices.Collect(maps.Values(byRepo))...)
	rng := rand.New(rand.NewPCG(2, 2))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	w.send(all...)
	w.run()
	rows := w.rows()
	if got := len(series(rows)); got != len(all) {
		t.Errorf("%d observations came out of %d", got, len(all))
	}
	got := state(rows)
	for id, all := range byRepo {
		newest := all[len(all)-1]
		row := got[id]
		if !row.ObservedAt.Equal(newest.ObservedAt) || row.Stars != newest.Stars || row.Late {
			t.Fatalf("%s: state of %s with %d stars, want %s with %d", newest.NameWithOwner, row.ObservedAt, row.Stars, newest.ObservedAt, newest.Stars)
		}
		same(t, "state", row, slowly(all, newest))
	}
}

// daily makes observations of one repository, a day apart.
func daily(id int64, days int) []event.RepoObserved {
	var out []event.RepoObserved
	for d := range days {
		out = append(out, event.RepoObserved{
			ID: id, NameWithOwner: fmt.Sprintf("o/r%d", id), Owner: "o", Name: fmt.Sprintf("r%d", id), Stars: int64(d * 10),
			ObservedAt: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, d), Source: "graphql", Languages: []event.Language{}, Topics: []string{},
		})
	}
	return out
}

func TestEmptyRedisIsRebuiltFromKafkaBeforeAnythingIsComputed(t *testing.T) {
	w := newWorld(t)
	all := daily(1, 40)
	w.send(all[:20]...)
	w.run()
	w.redis.FlushAll()
	w.send(all[20:]...)
	w.run()
	w.inOrder(all)
}

func TestStateRebuiltFromKafkaGivesTheRowsOfAnUndisturbedRun(t *testing.T) {
	w := newWorld(t)
	all := daily(1, 40)
	w.send(all[:20]...)
	w.run()
	was := w.redis.Dump()
	rebuild := func() {
		t.Helper()
		records, err := aggregate.Rebuild(context.Background(), w.env, nil, func(int64, int64) {})
		if err != nil || records < 20 {
			t.Errorf("%d records: %v", records, err)
		}
	}
	rebuild()
	if w.redis.Dump() == was {
		t.Error("nothing was rebuilt")
	}
	// While it works on, beside two more.
	w.send(all[20:]...)
	f := aggregate.New()
	if err := f.Start(context.Background(), w.env); err != nil {
		t.Fatal(err)
	}
	rebuild()
	rebuild()
	w.settle()
	if err := f.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.inOrder(all)
}

func TestStateRebuiltFromAnArchiveHasWhatKafkaHasLetGoOf(t *testing.T) {
	long(t)
	w := newWorld(t)
	all := daily(1, 40)
	w.send(all[:30]...)
	w.run()
	// The archive has the first 25. Then Kafka lets go of the first 20.
	topicID, err := kafka.TopicID(context.Background(), w.kafka, event.TopicBaseRepos)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := kafka.Ends(context.Background(), w.kafka, event.TopicBaseRepos)
	if err != nil {
		t.Fatal(err)
	}
	archived, deleted := map[int32]int64{}, kadm.Offsets{}
	for p, end := range ends {
		archived[p.Number] = max(0, end-5)
		deleted.AddOffset(p.Topic, p.Number, max(0, end-10), -1)
	}
	if _, err := kadm.NewClient(w.producer).DeleteRecords(context.Background(), deleted); err != nil {
		t.Fatal(err)
	}
	archive := func(topic string, next map[int32]int64) aggregate.Archive {
		return func(_ context.Context, each func([]*event.RepoObserved) error) (string, map[int32]int64, error) {
			var rows []*event.RepoObserved
			for _, i := range rand.Perm(25) {
				o := all[i]
				o.Normalize()
				rows = append(rows, &o)
			}
			return topic, next, each(rows)
		}
	}
	progress := func(int64, int64) {}
	if _, err := aggregate.Rebuild(context.Background(), w.env, archive("another", archived), progress); err == nil || !strings.Contains(err.Error(), "recreated") {
		t.Errorf("an archive of another topic: %v", err)
	}
	if records, err := aggregate.Rebuild(context.Background(), w.env, archive(topicID, archived), progress); err != nil || records != 30 {
		t.Errorf("%d records: %v, want 30", records, err)
	}
	w.send(all[30:]...)
	w.run()
	w.inOrder(all)

	// An archive that is ahead of what was computed would hide rows for ever.
	ahead := maps.Clone(archived)
	for p, end := range ends {
		ahead[p.Number] = end + 100
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := aggregate.Rebuild(ctx, w.env, archive(topicID, ahead), progress); err == nil {
		t.Error("an archive ahead of aggregate was taken")
	}
	// While somebody fills the state, nobody uses it.
	w.redis.HSet("github:pipeline:state", topicID+"/rebuilding", strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10))
	w.send(daily(2, 1)...)
	f := aggregate.New()
	if err := f.Start(context.Background(), w.env); err != nil {
		t.Fatal(err)
	}
	w.says(f, "the history store is being rebuilt from an archive")
	if n := len(w.rows()); n != 40 {
		t.Errorf("%d rows while the state is being filled, want 40", n)
	}
	// It takes one that has been silent too long for dead.
	w.redis.HSet("github:pipeline:state", topicID+"/rebuilding", strconv.FormatInt(time.Now().Add(-time.Millisecond).UnixMilli(), 10))
	w.settle()
	if err := f.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := len(w.rows()); n != 41 {
		t.Errorf("%d rows, want 41", n)
	}
}

func TestRedisThatFellBehindItsKafkaIsBroughtUp(t *testing.T) {
	// A crash after the commit in Kafka and before the write to Redis looks like
	// this: Redis is what it was before.
	w := newWorld(t)
	all := daily(1, 40)
	w.send(all[:10]...)
	w.run()
	before := snapshot(w.redis)
	w.send(all[10:20]...)
	w.run()
	restore(w.redis, before)
	w.send(all[20:]...)
	w.run()
	got := series(w.rows())
	if len(got) != 40 || len(w.rows()) != 40 {
		t.Fatalf("%d rows of %d observations, want 40", len(w.rows()), len(got))
	}
	for i, o := range all {
		same(t, "row", got[o.Key()], slowly(all[:i], o))
	}
}

// inOrder holds the rows against those of observations of one repository that came
// one after the other: each once, each a revision more.
func (w *world) inOrder(all []event.RepoObserved) {
	w.t.Helper()
	rows := w.rows()
	got := series(rows)
	if len(got) != len(all) || len(rows) != len(all) {
		w.t.Fatalf("%d rows of %d observations, want %d", len(rows), len(got), len(all))
	}
	for i, o := range all {
		row := got[o.Key()]
		same(w.t, "row", row, slowly(all[:i], o))
		if row.Revision != int64(i+1) {
			w.t.Errorf("revision %d of observation %d", row.Revision, i+1)
		}
	}
}

// snapshot copies the strings and hashes of a Redis.
func snapshot(r *miniredis.Miniredis) map[string]any {
	out := map[string]any{}
	for _, key := range r.Keys() {
		if r.Type(key) == "string" {
			out[key], _ = r.Get(key)
			continue
		}
		fields := map[string]string{}
		names, _ := r.HKeys(key)
		for _, f := range names {
			fields[f] = r.HGet(key, f)
		}
		out[key] = fields
	}
	return out
}

func restore(r *miniredis.Miniredis, from map[string]any) {
	r.FlushAll()
	for key, v := range from {
		switch v := v.(type) {
		case string:
			_ = r.Set(key, v)
		case map[string]string:
			for f, value := range v {
				r.HSet(key, f, value)
			}
		}
	}
}

func TestInvalidRecordIsOneDeadLetterAndTheRestGoesOn(t *testing.T) {
	w := newWorld(t)
	good := daily(1, 2)
	w.send(good[0])
	w.producer.ProduceSync(context.Background(), &kgo.Record{Topic: event.TopicBaseRepos, Key: []byte("1"), Value: []byte("invalid")})
	w.send(good[1])
	w.run()
	if got := len(w.rows()); got != 2 {
		t.Errorf("%d rows, want 2", got)
	}
	var letters []event.DeadLetter
	dlq := kafka.Partition{Topic: event.DeadLetterTopic(event.TopicBaseRepos)}
	ends, err := kafka.Ends(context.Background(), w.kafka, dlq.Topic)
	if err != nil {
		t.Fatal(err)
	}
	if err := kafka.ReadRange(context.Background(), w.kafka, dlq, 0, ends[dlq], func(records []*kgo.Record, _ int64) error {
		for _, r := range records {
			var l event.DeadLetter
			if err := json.Unmarshal(r.Value, &l); err != nil {
				return err
			}
			letters = append(letters, l)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(letters) != 1 || string(letters[0].Value64) != "invalid" || letters[0].Text != "invalid" || letters[0].Stage != "aggregate" || letters[0].Reason == "" {
		t.Errorf("%+v: want one readable letter with the original bytes", letters)
	}
}

func TestLateObservationRestatesTheStateItChanges(t *testing.T) {
	w := newWorld(t)
	all := daily(1, 9)
	late := all[1]
	w.send(slices.Concat(all[:1], all[2:])...)
	w.send(late)
	w.run()
	rows := w.rows()
	if row := series(rows)[late.Key()]; !row.Late || row.Revision != 9 {
		t.Errorf("late row: %+v", row)
	}
	current := state(rows)[1]
	if current.Revision != 9 || current.Late {
		t.Errorf("state at revision %d, late %v: want it restated as revision 9", current.Revision, current.Late)
	}
	same(t, "state", current, slowly(all, all[8]))
}

// TestRowsOfARepositoryStayInOnePartition: restatements, late rows and repeats of
// what was thinned away are written after the topic was given more partitions. In
// another partition they might be read before the rows that they come after.
func TestRowsOfARepositoryStayInOnePartition(t *testing.T) {
	w := newWorld(t)
	const repos = 30
	var late, repeats []event.RepoObserved
	for id := range int64(repos) {
		all := daily(id+1, 80)
		repeats = append(repeats, all[1])
		late = append(late, all[78])
		w.send(slices.Delete(all, 78, 79)...)
	}
	w.run()
	widened, err := kadm.NewClient(w.producer).CreatePartitions(t.Context(), 5, event.TopicProcessedRepos)
	if err != nil || widened.Error() != nil {
		t.Fatal(err, widened.Error())
	}
	w.send(slices.Concat(late, repeats)...)
	w.run()
	in, rows := map[string]map[int32]bool{}, 0
	for _, r := range w.records() {
		rows++
		if in[string(r.Key)] == nil {
			in[string(r.Key)] = map[int32]bool{}
		}
		in[string(r.Key)][r.Partition] = true
	}
	if want := repos * (79 + 3); rows != want {
		t.Errorf("%d rows, want %d: of each repository 79 in order, a late one, its restatement, and a repeat", rows, want)
	}
	for key, partitions := range in {
		if len(partitions) != 1 {
			t.Errorf("rows of repository %s are in partitions %v", key, partitions)
		}
	}
}

func TestRedisAheadOfTheLogStopsTheDrainInsteadOfSwallowing(t *testing.T) {
	w := newWorld(t)
	all := daily(1, 4)
	w.send(all[:2]...)
	w.run()
	fields, err := w.redis.HKeys("github:pipeline:state")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		if f != "epoch" {
			w.redis.HSet("github:pipeline:state", f, "999")
		}
	}
	w.send(all[2:]...)
	w.stopped("has lost records")
	if got := len(w.rows()); got != 2 {
		t.Errorf("%d rows, want the 2 from before", got)
	}
}

// A broker that has lost its volume may keep the topic's id. What it writes from
// offset 0 on then looks as if it had been applied long ago.
func TestALogThatBeginsAgainUnderTheSameTopicIDStopsTheDrain(t *testing.T) {
	for name, run := range map[string]func(w *world){
		"function": func(w *world) { w.stopped("has lost records") },
		"bulk mode": func(w *world) {
			if err := aggregate.Drain(context.Background(), w.bulk(), nil); !errors.Is(err, kafka.ErrFatal) {
				w.t.Errorf("bulk mode: %v, want it stopped", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			old, w := newWorld(t), newWorld(t)
			all := daily(1, 40)
			old.send(all[:30]...)
			old.run()
			w.adopt(old)
			before := w.redis.Dump()
			w.send(all[30:]...)
			run(w)
			if got := w.redis.Dump(); got != before {
				t.Errorf("the state was written over: %s\nwas %s", got, before)
			}
			done, err := kafka.Committed(context.Background(), w.kafka, aggregate.Group, event.TopicBaseRepos)
			if err != nil || len(done) != 0 {
				t.Errorf("committed %v (%v), want nothing", done, err)
			}
		})
	}
}

// adopt gives w the Redis of another world as if its broker's topic were the
// same one.
func (w *world) adopt(other *world) {
	w.t.Helper()
	ids := [2]string{}
	for i, of := range []*world{other, w} {
		var err error
		if ids[i], err = kafka.TopicID(context.Background(), of.kafka, event.TopicBaseRepos); err != nil {
			w.t.Fatal(err)
		}
	}
	w.redis, w.env["REDIS_URL"] = other.redis, other.env["REDIS_URL"]
	fields, err := w.redis.HKeys("github:pipeline:state")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range fields {
		if rest, ok := strings.CutPrefix(f, ids[0]); ok {
			w.redis.HSet("github:pipeline:state", ids[1]+rest, w.redis.HGet("github:pipeline:state", f))
			w.redis.HDel("github:pipeline:state", f)
		}
	}
}

// stopped starts the function, waits until its status gives a reason, and stops it.
func (w *world) stopped(reason string) {
	w.t.Helper()
	f := aggregate.New()
	if err := f.Start(context.Background(), w.env); err != nil {
		w.t.Fatal(err)
	}
	w.says(f, reason)
	if err := f.Stop(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// says waits until the function's status gives a reason for which it fails.
func (w *world) says(f *serve.Instance, reason string) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answer := httptest.NewRecorder()
		f.Handle(answer, httptest.NewRequest("GET", "/status", nil))
		if strings.Contains(answer.Body.String(), reason) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Errorf("the status does not say %q: %s", reason, answer.Body)
			return
		}
	}
}
