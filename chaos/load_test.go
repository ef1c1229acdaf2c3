package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/replay"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// recording reads the real observations of 2025, in their order, once.
var recording = sync.OnceValues(func() ([]event.RepoObserved, error) {
	var all []event.RepoObserved
	for e, err := range replay.Read("../data/m7-2025.jsonl.gz") {
		if err != nil {
			return nil, err
		}
		var o event.RepoObserved
		if err := json.Unmarshal(e.Data(), &o); err != nil {
			return nil, fmt.Errorf("event %s: %w", e.ID(), err)
		}
		o.ID = repo.RecordedID(o.NameWithOwner)
		all = append(all, o)
	}
	return all, nil
})

// load sends a part of the recording in each round, and knows what it has sent.
type load struct {
	p       *pipeline
	random  *rand.Rand
	rest    []event.RepoObserved // not sent yet
	sent    []event.RepoObserved // acknowledged by Kafka
	keys    map[repo.Key]bool
	events  []*event.GitHubEvent // of feeds, acknowledged by Kafka
	signals []*event.Signal      // of today, acknowledged by Kafka
	sweeps  int
	records int
}

func newLoad(t *testing.T, p *pipeline, random *rand.Rand) *load {
	t.Helper()
	all, err := recording()
	if err != nil {
		t.Fatal(err)
	}
	return &load{p: p, random: random, rest: slices.Clone(all), keys: map[repo.Key]bool{}}
}

// What a round sends.
const (
	batches = 8
	batch   = 40 // observations that are new
	twice   = 6  // of them sent twice
	again   = 6  // of earlier ones, at new offsets
	raise   = 2  // signals of today, each sent twice
	happen  = 20 // events of feeds that are new; as many of them and of earlier ones as of observations come again
	invalid = 1  // records that can never be processed, in each of four topics in turn
)

// letterTopics are those in which a record that can never be processed is put.
func letterTopics() []string {
	return []string{event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSweeps, event.TopicEvents}
}

// happened draws an event of a feed, of any month of a year. Now and then it has the id
// of the one before, as GitHub's sequences of ids do: its type makes the difference.
func (l *load) happened() *event.GitHubEvent {
	n := int64(len(l.events)) + 1
	typ, id := "PushEvent", n
	if n%10 == 0 {
		typ, id = "WatchEvent", n-1
	}
	repo := 1 + l.random.Int64N(50)
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(l.random.Int64N(365*24*3600)) * time.Second)
	return &event.GitHubEvent{
		Type: typ, ID: id, CreatedAt: at, RepoID: repo, NameWithOwner: fmt.Sprintf("acme/repo-%d", repo), Owner: "acme",
		ActorID: &id, ActorLogin: new(fmt.Sprintf("dev-%d", id)), ObservedAt: at.Add(time.Hour), Source: "rest",
	}
}

// batch sends some new observations, some of them twice, some of earlier ones
// again, a ledger line and an invalid record, in a seeded order, and returns when Kafka
// has all of it. While Kafka is away it goes on trying.
func (l *load) batch(ctx context.Context) error {
	var records []*kgo.Record
	add := func(v any, mayRepeat bool) error {
		r, err := l.p.codec.Record(ctx, v, mayRepeat)
		records = append(records, r)
		return err
	}
	var errs []error
	for n := range batch {
		// Not always the next one: what was left is sent later, and is late then. One is
		// of any day of the year, so that a block has rows that are months apart.
		i := l.random.IntN(min(len(l.rest), 60))
		if n == 0 {
			i = l.random.IntN(len(l.rest))
		}
		o := l.rest[i]
		l.rest = slices.Delete(l.rest, i, i+1)
		errs = append(errs, add(&o, false))
		l.sent = append(l.sent, o)
		l.keys[o.Key()] = true
	}
	for range twice {
		errs = append(errs, add(&l.sent[len(l.sent)-1-l.random.IntN(batch)], true))
	}
	for range again {
		errs = append(errs, add(&l.sent[l.random.IntN(len(l.sent))], true))
	}
	for range raise {
		s := l.raised()
		errs = append(errs, add(s, false), add(s, false))
		l.signals = append(l.signals, s)
	}
	for range happen {
		e := l.happened()
		errs = append(errs, add(e, false))
		l.events = append(l.events, e)
	}
	for range twice {
		errs = append(errs, add(l.events[len(l.events)-1-l.random.IntN(happen)], false))
	}
	for range again {
		errs = append(errs, add(l.events[l.random.IntN(len(l.events))], false))
	}
	l.sweeps++
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(l.sweeps) * time.Hour)
	errs = append(errs, add(&event.OwnerSwept{
		SweepID: at.Format(time.RFC3339), Owner: fmt.Sprintf("owner-%d", l.sweeps%7), Status: event.StatusComplete, StartedAt: at, FinishedAt: at.Add(time.Minute), Pages: 1,
	}, false))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	l.random.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	for range invalid {
		topic := letterTopics()[l.random.IntN(len(letterTopics()))]
		at := l.random.IntN(len(records))
		records = slices.Insert(records, at, &kgo.Record{Topic: topic, Key: []byte("k"), Value: fmt.Appendf(nil, "invalid %d", l.random.Uint64())})
	}
	l.records += len(records)
	return l.send(ctx, records)
}

// send produces records, and those again whose fate is unknown, and then rings for
// them as fetch-org and aggregate do. A bell may be lost.
func (l *load) send(ctx context.Context, records []*kgo.Record) error {
	bells := map[string]*kgo.Record{}
	for _, r := range records {
		if bell := event.NewBell(r.Topic); bell != nil {
			bells[r.Topic] = bell
		}
	}
	for {
		client, err := kafka.NewProducer(l.p.kafka)
		if err != nil {
			return err
		}
		var again []*kgo.Record
		for _, r := range client.ProduceSync(ctx, records...) {
			if r.Err != nil {
				r := &kgo.Record{Topic: r.Record.Topic, Key: r.Record.Key, Value: r.Record.Value, Headers: slices.Clone(r.Record.Headers)}
				if event.Header(r, "ce_type") == event.TypeRepoObserved && event.Header(r, "ce_"+event.MayRepeat) == "" {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: "ce_" + event.MayRepeat, Value: []byte("true")})
				}
				again = append(again, r)
			}
		}
		if len(again) == 0 {
			_ = client.ProduceSync(ctx, slices.Collect(maps.Values(bells))...)
		}
		client.Close()
		if len(again) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%d records were not sent: %w", len(again), err)
		}
		records = again
	}
}

// verdict is what a round has come to.
type verdict struct {
	Observations, ClickHouse int64
	IcebergRaw               int64 `json:"iceberg_raw"`
	IcebergProcessed         int64 `json:"iceberg_processed"`
	Duplicates               int64
	Events                   struct {
		Kafka  int64
		Tables map[string]int64
	}
	Clean       bool
	Differences []string
}

// settleLimit is how long the pipeline may take to come to rest, unharmed.
const settleLimit = 2 * time.Minute

// settled waits until nothing is left to do, and says all that is wrong then.
func (l *load) settled(ctx context.Context) (errs []error) {
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	auditing, cancel := context.WithTimeout(ctx, settleLimit+time.Minute)
	defer cancel()
	out, err := l.p.pulse(auditing, "audit", "--wait", "--timeout", settleLimit.String(), "--json")
	var v verdict
	if e := json.Unmarshal(out, &v); e != nil {
		return []error{fmt.Errorf("no audit: %w", errors.Join(err, e))}
	}
	if want := int64(len(l.keys)); v.Observations != want || v.ClickHouse != want || v.IcebergRaw != want || v.IcebergProcessed != want {
		fail("%d observations were sent: Kafka has %d, ClickHouse %d, Iceberg %d and %d", want, v.Observations, v.ClickHouse, v.IcebergRaw, v.IcebergProcessed)
	}
	if want := int64(len(l.events)); v.Events.Kafka != want || len(v.Events.Tables) != 2 || v.Events.Tables["ClickHouse"] != want || v.Events.Tables["Iceberg"] != want {
		fail("%d events of feeds were sent: Kafka has %d, the stores %v", want, v.Events.Kafka, v.Events.Tables)
	}
	if v.Duplicates != 0 {
		fail("%d rows are doubled", v.Duplicates)
	}
	if !v.Clean {
		fail("the audit is not clean: %d differences, such as %q", len(v.Differences), v.Differences[:min(3, len(v.Differences))])
	}
	ctx, cancel = context.WithTimeout(ctx, settleLimit) // the audit may have taken all of its own
	defer cancel()
	for _, check := range []func(context.Context) error{l.newest, l.ledger, l.letters, l.delivered} {
		if err := check(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// each reads a topic.
func (l *load) each(ctx context.Context, topic string, each func(*kgo.Record) error) error {
	ends, err := kafka.Ends(ctx, l.p.kafka, topic)
	if err != nil {
		return err
	}
	for at, end := range ends {
		err := kafka.ReadRange(ctx, l.p.kafka, at, 0, end, func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				if err := each(r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// newest says whether the tables of ClickHouse in which rows replace each other
// have what follows from the time series, which the audit compares.
func (l *load) newest(ctx context.Context) (err error) {
	conn, err := sinkclickhouse.Open(l.p.direct["CLICKHOUSE_URL"])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for table, want := range map[string]string{
		"github_processed_repos": "repo_id, max(observed_at) AS newest FROM pulse.github_metrics_timeseries GROUP BY repo_id",
		"github_daily":           "repo_id, max(observed_at) AS newest FROM pulse.github_metrics_timeseries GROUP BY repo_id, toDate(observed_at)",
		"github_pushes":          "DISTINCT repo_id, assumeNotNull(pushed_at) AS newest FROM pulse.github_metrics_timeseries WHERE isNotNull(pushed_at)",
	} {
		at := "observed_at"
		if table == "github_pushes" {
			at = "pushed_at"
		}
		has := "repo_id, " + at + " FROM pulse." + table + " FINAL"
		var wrong uint64
		err := conn.QueryRow(ctx, "SELECT count() FROM (SELECT * FROM (SELECT "+want+" EXCEPT SELECT "+has+") UNION ALL SELECT * FROM (SELECT "+has+" EXCEPT SELECT "+want+"))").Scan(&wrong)
		if err != nil {
			return fmt.Errorf("compare %s with the time series: %w", table, err)
		}
		if wrong > 0 {
			return fmt.Errorf("%s does not follow from the time series: %d rows are not in both", table, wrong)
		}
	}
	return nil
}

// ledger says whether Iceberg has a row for each line in Kafka. Lines have no key
// by which a second row would be told: only the offsets keep them single.
func (l *load) ledger(ctx context.Context) error {
	var lines int64
	err := l.each(ctx, event.TopicSweeps, func(r *kgo.Record) error {
		_, err := l.p.codec.Swept(ctx, r)
		if err == nil {
			lines++
		}
		if errors.Is(err, event.ErrInvalid) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	rows, err := sinkiceberg.Rows(ctx, l.p.catalog, sinkiceberg.TableSweeps)
	if err != nil {
		return err
	}
	if rows != lines {
		return fmt.Errorf("the ledger in Iceberg has %d rows for %d lines", rows, lines)
	}
	return nil
}

// letters says whether the dead letters are the invalid records, each once.
func (l *load) letters(ctx context.Context) error {
	want := map[string]bool{}
	for _, topic := range letterTopics() {
		err := l.each(ctx, topic, func(r *kgo.Record) error {
			if bytes.HasPrefix(r.Value, []byte("invalid ")) {
				want[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	out, err := l.p.pulse(ctx, "dlq", "list", "--all", "--json")
	if err != nil {
		return err
	}
	var letters []struct {
		Topic     string
		Partition int32
		Offset    int64
	}
	if err := json.Unmarshal(out, &letters); err != nil {
		return fmt.Errorf("pulse dlq list: %w: %s", err, out)
	}
	for _, d := range letters {
		id := fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Offset)
		if !want[id] {
			return fmt.Errorf("%s is a dead letter, twice or of a record that is none", id)
		}
		delete(want, id)
	}
	if len(want) > 0 {
		return fmt.Errorf("%d invalid records have no dead letter", len(want))
	}
	return nil
}
