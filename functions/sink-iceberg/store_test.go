package sinkiceberg

import (
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	sqlcatalog "github.com/apache/iceberg-go/catalog/sql"
	"github.com/apache/iceberg-go/table"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// world is the servers that the sink needs, and its embedded cold store.
type world struct {
	t       testing.TB
	codec   *event.Codec
	letters *kafka.DeadLetters
	cold    *lazyCatalog
	next    map[string]int64 // offsets of the topics, by topic
}

const topicID = "0123456789abcdef0123456789abcdef"

var compressed = flag.Bool("tables.compressed", false, "have every test compress its tables as the sink does")

// long skips a test that is only slow when tests run with -short, as in `make
// test`. `make property-test` runs them all.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: make property-test runs it")
	}
}

// newWorld is a world whose tables are not compressed, unless -tables.compressed is
// given: under the race detector the buffers of zstd take most of a test's time.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := newCompressedWorld(t)
	if *compressed {
		return w
	}
	c, closer, err := Open(context.Background(), w.cold.at)
	if err != nil {
		t.Fatal(err)
	}
	w.cold.catalog, w.cold.closer = uncompressed{c.(*sqlcatalog.Catalog)}, closer
	return w
}

// uncompressed is a catalog that creates tables without compression.
type uncompressed struct{ *sqlcatalog.Catalog }

func (u uncompressed) CreateTable(ctx context.Context, id table.Identifier, schema *iceberg.Schema, opts ...catalog.CreateTableOpt) (*table.Table, error) {
	return u.Catalog.CreateTable(ctx, id, schema, append(opts, func(c *catalog.CreateTableCfg) {
		c.Properties["write.parquet.compression-codec"] = "uncompressed"
	})...)
}

// newCompressedWorld is a world whose tables are compressed as the sink does it.
func newCompressedWorld(t testing.TB) *world {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, event.DeadLetterTopic(event.TopicBaseRepos), event.DeadLetterTopic(event.TopicProcessedRepos)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	w := &world{t: t, next: map[string]int64{}}
	if w.codec, err = event.NewCodec(registry.URL); err != nil {
		t.Fatal(err)
	}
	if w.letters, err = kafka.NewDeadLetters(kafka.Config{Brokers: cluster.ListenAddrs()}, stage); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.letters.Close)
	dir := t.TempDir()
	w.cold = &lazyCatalog{at: Location{Catalog: "sqlite://" + filepath.Join(dir, "catalog.db"), Warehouse: "file://" + filepath.Join(dir, "warehouse")}}
	t.Cleanup(func() { _ = w.cold.close() })
	return w
}

// block makes a block of the next offsets of a topic.
func (w *world) block(topic string, records ...*kgo.Record) kafka.Block {
	p := kafka.Partition{Topic: topic}
	b := kafka.Block{First: kafka.Offsets{p: w.next[topic]}, Next: kafka.Offsets{}}
	for _, r := range records {
		r.Topic, r.Offset = topic, w.next[topic]
		w.next[topic]++
		b.Records = append(b.Records, r)
	}
	b.Next[p] = w.next[topic]
	return b
}

func (w *world) record(v any) *kgo.Record {
	w.t.Helper()
	r, err := w.codec.Record(context.Background(), v, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) put(s kafka.Store, b kafka.Block) {
	w.t.Helper()
	if err := put(s, b); err != nil {
		w.t.Fatal(err)
	}
}

func put(s kafka.Store, b kafka.Block) error {
	if _, err := s.Resume(context.Background(), "", nil); err != nil {
		return err
	}
	return putNext(s, b)
}

// putNext puts a block without a Resume before it.
func putNext(s kafka.Store, b kafka.Block) error {
	store, err := s.Prepare(context.Background(), topicID, b)
	if err != nil {
		return err
	}
	_, err = store(context.Background())
	return err
}

func (w *world) account(table string) account.Tally {
	w.t.Helper()
	c, err := w.cold.open(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	count := account.NewCount()
	if err := Account(context.Background(), c, table, nil, count); err != nil {
		w.t.Fatal(err)
	}
	a, err := count.Account()
	if err != nil {
		w.t.Fatal(err)
	}
	return a.Total
}

func observed(id int64, day int) *event.RepoObserved {
	forks, company := int64(day), "meta"
	return &event.RepoObserved{
		ID: id, NameWithOwner: fmt.Sprintf("o/r%d", id), Owner: "o", Name: fmt.Sprintf("r%d", id), Company: &company,
		Languages: []event.Language{{Name: "Go", Bytes: 5}}, Topics: []string{"a", "b"}, Stars: 10 * int64(day), Forks: &forks,
		ObservedAt: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day), SweepID: "s", Source: "replay",
	}
}

func processedRow(id int64, day int, revision int64) *event.RepoProcessed {
	p := &event.RepoProcessed{Observation: *observed(id, day), ProcessedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Revision: revision}
	p.SetInt(velocity.Delta(velocity.Stars, velocity.Day), 3)
	p.SetInt(velocity.BaseAt(velocity.Day), p.ObservedAt.UnixMilli())
	p.SetFloat(velocity.BreakoutZ, 1.5)
	p.SetBool(velocity.IsRenamed, true)
	return p
}

// complete is a row with every field known, each with a value of its own.
func complete(id int64) *event.RepoProcessed {
	at := time.Date(2025, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	p := &event.RepoProcessed{ProcessedAt: at.Add(time.Hour), Revision: 3, Late: true}
	o := reflect.ValueOf(&p.Observation).Elem()
	for i := range o.NumField() {
		text, number, moment := fmt.Sprint("text ", i), int64(100+i), at.AddDate(0, 0, -i)
		switch f := o.Field(i); f.Interface().(type) {
		case string:
			f.SetString(text)
		case int64:
			f.SetInt(number)
		case bool:
			f.SetBool(i%2 == 0)
		case time.Time:
			f.Set(reflect.ValueOf(moment))
		case *string:
			f.Set(reflect.ValueOf(&text))
		case *int64:
			f.Set(reflect.ValueOf(&number))
		case *time.Time:
			f.Set(reflect.ValueOf(&moment))
		}
	}
	p.ID, p.Owner, p.Name, p.NameWithOwner, p.OwnerType = id, "o", "r", "o/r", "User"
	p.Languages, p.Topics = []event.Language{{Name: "Go", Bytes: 5}, {Name: "C", Bytes: 6}}, []string{"a", "b"}
	for i, d := range velocity.Definitions() {
		switch f := velocity.Field(i); d.Kind {
		case field.Float:
			p.SetFloat(f, float64(i)+0.1)
		case field.Bool:
			p.SetBool(f, i%2 == 0)
		case field.Time:
			p.SetInt(f, at.UnixMilli()-int64(i))
		default:
			p.SetInt(f, int64(i))
		}
	}
	return p
}

// TestRowsAreStoredWithTheirValues: every field of a row that has all of them, and of
// one in which every field that may be null is.
func TestRowsAreStoredWithTheirValues(t *testing.T) {
	t.Parallel()
	w := newCompressedWorld(t)
	want := []*event.RepoProcessed{complete(1), {ProcessedAt: time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC), Revision: 1}}
	want[1].Observation = event.RepoObserved{ID: 2, NameWithOwner: "o/r", ObservedAt: want[1].ProcessedAt}
	want[1].Normalize()
	var raw, done []*kgo.Record
	wantBase, wantDone := account.Tally{Rows: 2, Distinct: 2}, account.Tally{Rows: 2, Distinct: 2}
	for _, p := range want {
		raw, done = append(raw, w.record(&p.Observation)), append(done, w.record(p))
		sums := account.NewSummer().Processed(p)
		wantBase.Observed, wantBase.Details = wantBase.Observed+sums.Observed, wantBase.Details+sums.Details
		wantDone.Observed, wantDone.Details, wantDone.Velocity = wantBase.Observed, wantBase.Details, wantDone.Velocity+sums.Velocity
	}
	w.put(base(w.cold, w.letters, w.codec), w.block(event.TopicBaseRepos, raw...))
	w.put(processed(w.cold, w.letters, w.codec), w.block(event.TopicProcessedRepos, done...))
	if got := w.account(TableBase); got != wantBase {
		t.Errorf("base: %+v, want %+v", got, wantBase)
	}
	if got := w.account(TableProcessed); got != wantDone {
		t.Errorf("processed: %+v, want %+v", got, wantDone)
	}
	var observed []*event.RepoObserved
	if _, err := ReadObserved(context.Background(), w.open(), nil, func(rows []*event.RepoObserved) error {
		observed = append(observed, rows...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var processed []*event.RepoProcessed
	if _, err := ReadProcessed(context.Background(), w.open(), nil, func(rows []*event.RepoProcessed) error {
		processed = append(processed, rows...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{TableBase, TableProcessed} {
		if codec := w.load(name).Properties()["write.parquet.compression-codec"]; codec != "zstd" {
			t.Errorf("table %s is compressed with %q, want zstd", name, codec)
		}
	}
	for _, p := range want {
		i := slices.IndexFunc(observed, func(o *event.RepoObserved) bool { return o.ID == p.ID })
		j := slices.IndexFunc(processed, func(o *event.RepoProcessed) bool { return o.ID == p.ID })
		if i < 0 || j < 0 || !reflect.DeepEqual(*observed[i], p.Observation) || !reflect.DeepEqual(*processed[j], *p) {
			t.Errorf("repository %d: stored as %+v and %+v, want %+v", p.ID, observed, processed, *p)
		}
	}
}

func TestObservationAtANewOffsetIsStoredOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, done := base(w.cold, w.letters, w.codec), processed(w.cold, w.letters, w.codec)
	for range 3 {
		for chunk := range 4 {
			var rs, ps []*kgo.Record
			for day := range 10 {
				for id := range int64(3) {
					rs = append(rs, w.record(observed(id+1, chunk*7+day))) // overlaps the chunk before
					ps = append(ps, w.record(processedRow(id+1, chunk*7+day, int64(chunk+1))))
				}
			}
			w.put(raw, w.block(event.TopicBaseRepos, append(rs, rs[0])...))
			w.put(done, w.block(event.TopicProcessedRepos, ps...))
		}
	}
	for _, table := range []string{TableBase, TableProcessed} {
		if got := w.account(table); got.Rows != 93 || got.Distinct != 93 {
			t.Errorf("%s: %d rows, %d distinct, want 93", table, got.Rows, got.Distinct)
		}
	}
}

func TestOffsetsAreInTheCommitAndABlockAgainIsNoSecondOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.block(event.TopicBaseRepos, w.record(observed(1, 1)), w.record(observed(2, 1)))
	w.put(base(w.cold, w.letters, w.codec), b)
	again := base(w.cold, w.letters, w.codec)
	marks, err := again.Resume(context.Background(), event.TopicBaseRepos, []int32{0})
	if err != nil || len(marks) != 1 || marks[0] != (kafka.Mark{TopicID: topicID, Partition: 0, Next: 2}) {
		t.Fatalf("marks %+v, %v", marks, err)
	}
	w.put(again, b) // a commit whose answer was lost is tried again
	if got := w.account(TableBase); got.Rows != 2 {
		t.Errorf("%d rows, want 2", got.Rows)
	}
	// A writer that is behind must not store what another has stored.
	behind := kafka.Block{Records: b.Records, First: b.First, Next: kafka.Offsets{{Topic: event.TopicBaseRepos}: 5}}
	if err := put(again, behind); err == nil {
		t.Error("an overlapping block was committed")
	}
}

// Another writer's snapshot has not our offsets in its summary: those of the
// table count.
func TestCommitOfAnotherWriterLosesNoOffset(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := base(w.cold, w.letters, w.codec)
	b := w.block(event.TopicBaseRepos, w.record(observed(1, 1)), w.record(observed(2, 1)))
	w.put(raw, b)
	c := raw.(*tableStore[event.RepoObserved])
	before := w.load(TableBase)
	files, err := c.write(context.Background(), before, []*event.RepoObserved{observed(3, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tx := before.NewTransaction()
	if err := tx.AddDataFiles(context.Background(), files, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.load(TableBase).CurrentSnapshot().Summary.Properties[offsetsKey]; ok {
		t.Fatal("the other writer's summary has our offsets: nothing is tested")
	}
	again := base(w.cold, w.letters, w.codec)
	marks, err := again.Resume(context.Background(), event.TopicBaseRepos, []int32{0})
	if err != nil || len(marks) != 1 || marks[0].Next != 2 {
		t.Fatalf("marks %+v, %v: want those of before", marks, err)
	}
	w.put(again, b)
	w.put(again, w.block(event.TopicBaseRepos, w.record(observed(4, 1))))
	if got := w.account(TableBase); got.Rows != 4 || got.Distinct != 4 {
		t.Errorf("%d rows, %d distinct, want 4", got.Rows, got.Distinct)
	}
}

func TestInvalidRecordIsADeadLetterAndTheRestIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := base(w.cold, w.letters, w.codec)
	w.put(raw, w.block(event.TopicBaseRepos, w.record(observed(1, 1)), &kgo.Record{Value: []byte("invalid")}, w.record(observed(2, 1))))
	w.put(raw, w.block(event.TopicBaseRepos, &kgo.Record{Value: []byte("invalid alone")}))
	marks, err := raw.Resume(context.Background(), event.TopicBaseRepos, []int32{0})
	if err != nil || marks[0].Next != 4 {
		t.Errorf("marks %+v, %v: want the invalid records passed", marks, err)
	}
	if got := w.account(TableBase); got.Rows != 2 {
		t.Errorf("%d rows, want 2", got.Rows)
	}
}

// TestAnOldRecordAmongLiveOnesReadsItsOwnFilesOnly: the files of the days between
// cannot even be opened.
func TestAnOldRecordAmongLiveOnesReadsItsOwnFilesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := base(w.cold, w.letters, w.codec)
	const last = 6
	w.fill(raw, last+1, last+1)
	for _, path := range w.onDisk(".parquet") {
		if !strings.Contains(path, "2025-01-01") && !strings.Contains(path, "2025-01-07") {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	live := observed(1, last)
	live.ObservedAt = live.ObservedAt.Add(time.Hour)
	w.put(raw, w.block(event.TopicBaseRepos, w.record(live), w.record(observed(1, 0)), w.record(observed(2, 0)), w.record(observed(1, last))))
	if marks, err := Marks(context.Background(), w.open(), TableBase); err != nil || marks[0] != last+5 {
		t.Fatalf("marks %v, %v", marks, err)
	}
	rows, err := Rows(context.Background(), w.open(), TableBase)
	if err != nil || rows != last+3 {
		t.Errorf("%d rows, %v; want %d: two of the four are new", rows, err, last+3)
	}
}

// TestManyDaysApartAreLookedUpToo: more of them than a filter names one by one.
func TestManyDaysApartAreLookedUpToo(t *testing.T) {
	long(t)
	t.Parallel()
	w := newWorld(t)
	raw := base(w.cold, w.letters, w.codec)
	for range 2 {
		var all []*kgo.Record
		for i := range maxRanges + 10 {
			all = append(all, w.record(observed(1, 2*i)))
		}
		w.put(raw, w.block(event.TopicBaseRepos, all...))
	}
	if got := w.account(TableBase); got.Rows != maxRanges+10 || got.Distinct != got.Rows {
		t.Errorf("%+v, want %d rows", got, maxRanges+10)
	}
}

// TestATableThatIsLostBeneathARunningSinkIsFilledFromItsBeginning: what comes next
// is not stored in a table that lacks what came before.
func TestATableThatIsLostBeneathARunningSinkIsFilledFromItsBeginning(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*world){
		"gone": func(w *world) {
			if err := w.open().DropTable(context.Background(), table.Identifier{namespace, TableBase}); err != nil {
				w.t.Fatal(err)
			}
		},
		"recreated by another": func(w *world) {
			if err := w.open().DropTable(context.Background(), table.Identifier{namespace, TableBase}); err != nil {
				w.t.Fatal(err)
			}
			if _, err := base(w.cold, w.letters, w.codec).Resume(context.Background(), event.TopicBaseRepos, nil); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			raw := base(w.cold, w.letters, w.codec)
			w.put(raw, w.block(event.TopicBaseRepos, w.record(observed(1, 1))))
			lose(w)
			if err := putNext(raw, w.block(event.TopicBaseRepos, w.record(observed(2, 1)))); err == nil {
				t.Error("the block behind the lost ones was stored")
			}
			marks, err := raw.Resume(context.Background(), event.TopicBaseRepos, []int32{0})
			if err != nil || len(marks) != 0 {
				t.Errorf("marks %v, %v: want none, all is to be stored again", marks, err)
			}
		})
	}
}
