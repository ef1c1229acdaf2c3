package aggregate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// signals returns those that came out, in order.
func (f *forge) signals(ctx context.Context, records []*kgo.Record) (all []*event.Signal, err error) {
	for _, r := range records {
		s, err := f.codec.Signal(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// poisson draws a number of events from the Poisson distribution with mean rate.
func poisson(rng *rand.Rand, rate float64) (n int64) {
	for p := rng.Float64(); p > math.Exp(-rate); p *= rng.Float64() {
		n++
	}
	return n
}

// growth makes hourly readings of a repository that gains stars at a rate a day, each
// by itself, and loses one now and then.
func (f *forge) growth(id int64, perDay float64, days int) []event.RepoObserved {
	at := time.Date(2025, 1, 1, 0, 7, 0, 0, time.UTC)
	stars, forks := int64(20*perDay)+200, int64(3*perDay)
	out := make([]event.RepoObserved, 24*days)
	for i := range out {
		stars += poisson(f.rng, perDay/24*1.1) - min(stars, poisson(f.rng, perDay/24*.1))
		forks += poisson(f.rng, perDay/24/5)
		out[i] = reading(id, at.Add(time.Duration(i)*time.Hour))
		out[i].Stars, out[i].Forks = stars, new(forks)
	}
	return out
}

// reading is an observation in which a few counters are known.
func reading(id int64, at time.Time) event.RepoObserved {
	return event.RepoObserved{
		ID: id, NameWithOwner: "acme/tool", Owner: "acme", Name: "tool", Company: new("acme corp"), Stars: 990, Forks: new(int64(100)), DefaultBranch: new("main"),
		CommitsTotal: new(int64(500)), Releases: new(int64(3)), LatestRelease: new("v3"), LatestReleaseAt: new(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)),
		ObservedAt: at, Source: "graphql", Languages: []event.Language{}, Topics: []string{},
	}
}

// The promise of the thresholds: one false alarm in 200 repository-days, at most.
func TestQuietGrowthRaisesHardlyAnAlarm(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: make property-test runs it")
	}
	const days, most = 120, 200
	rates := []float64{.5, 1, 2, 4, 8, 16, 32, 64, 128, 256}
	tryOn(t, 2, func(ctx context.Context, f *forge, e *engine) error {
		count := map[string]int{}
		for i, rate := range rates {
			out, err := f.run(ctx, e, f.growth(int64(i+1), rate, days))
			if err != nil {
				return err
			}
			all, err := f.signals(ctx, out.signals)
			if err != nil {
				return err
			}
			for _, s := range all {
				count[s.Kind]++
			}
		}
		t.Logf("%d repository-days of quiet growth: %v", len(rates)*days, count)
		for _, kind := range []string{signal.Breakout, signal.SuspiciousSpike, signal.Burst, signal.CounterFallen} {
			if count[kind]*most > len(rates)*days {
				return fmt.Errorf("%d false alarms of kind %s in %d repository-days", count[kind], kind, len(rates)*days)
			}
		}
		return nil
	})
}

// raised runs daily readings of one repository, each changed from a usual one, and
// returns what they raise: "day kind".
func raised(t *testing.T, days int, change func(day int, o *event.RepoObserved)) (all []*event.Signal, text string) {
	t.Helper()
	tryOn(t, 1, func(ctx context.Context, f *forge, e *engine) error {
		begin := time.Date(2025, 3, 1, 6, 0, 0, 0, time.UTC)
		var some []event.RepoObserved
		for day := range days {
			o := reading(7, begin.AddDate(0, 0, day))
			change(day, &o)
			o.Owner, o.Name, _ = strings.Cut(o.NameWithOwner, "/")
			some = append(some, o)
		}
		out, err := f.run(ctx, e, some)
		if err != nil {
			return err
		}
		if all, err = f.signals(ctx, out.signals); err != nil {
			return err
		}
		var words []string
		for _, s := range all {
			words = append(words, fmt.Sprintf("%.0f %s", s.ObservedAt.Sub(begin).Hours()/24, s.Kind))
		}
		text = strings.Join(words, ", ")
		return nil
	})
	return all, text
}

func TestASignalIsRaisedWhenItsConditionBeginsAndNotAgain(t *testing.T) {
	f := func(want string, days int, change func(day int, o *event.RepoObserved)) []*event.Signal {
		t.Helper()
		all, got := raised(t, days, change)
		if got != want {
			t.Errorf("raised %q, want %q", got, want)
		}
		return all
	}
	type o = event.RepoObserved
	f("", 40, func(int, *o) {})
	// 2 stars a day for 20 days, then 40 a day for two days, and again a week later.
	surge := func(gains map[int]int64) func(int, *o) {
		return func(day int, r *o) {
			r.Stars = 2_000
			for d := 1; d <= day; d++ {
				if n, ok := gains[d]; ok {
					r.Stars += n
				} else {
					r.Stars += 2
				}
				*r.Forks++
			}
		}
	}
	s := f("20 breakout, 30 breakout", 40, surge(map[int]int64{20: 40, 21: 40, 30: 80}))[0]
	if *s.Metric != "stars" || *s.Value != 40 || *s.Usual != 2 || *s.Window != "24h" || s.Severity != signal.Notice || s.Evidence != fmt.Sprintf("7@%d", s.ObservedAt.UnixMilli()) ||
		*s.Company != "acme corp" || s.Words != "acme/tool gained 40 stars in 24 h; usual is 2.0 a day (z 26.9)" {
		t.Errorf("%+v: %s", s, s.Words)
	}
	f("", 40, surge(map[int]int64{20: 8}))        // less than 10 stars
	f("", 40, surge(map[int]int64{20: 9}))        // nor is this
	f("8 burst", 40, surge(map[int]int64{8: 40})) // there are too few days for a breakout
	f("20 suspicious_spike", 30, func(day int, r *o) {
		surge(map[int]int64{20: 90})(day, r)
		if day >= 20 {
			*r.Forks--
		}
	})
	// Passed, lost, and passed again.
	f("3 milestone", 20, func(day int, r *o) { r.Stars = []int64{998, 999, 999, 1000, 999, 1001}[min(day, 5)] })
	s = f("5 release, 9 release", 20, func(day int, r *o) {
		if day >= 5 {
			r.LatestRelease, r.LatestReleaseAt, r.Releases = new("v4\n<b>"), new(r.ObservedAt.Truncate(24*time.Hour).AddDate(0, 0, 5-day)), new(int64(4))
		}
		if day == 7 { // deleted, and there again on day 8
			r.LatestReleaseAt = new(r.LatestReleaseAt.AddDate(-1, 0, 0))
		}
		if day >= 9 {
			r.LatestReleaseAt = new(r.LatestReleaseAt.AddDate(0, 0, 4))
		}
	})[0]
	if s.Words != `acme/tool has released "v4\n<b>"` || *s.Value != 4 {
		t.Errorf("%+v: %s", s, s.Words)
	}
	f("4 release", 20, func(day int, r *o) { // its first
		if r.Releases = new(int64(0)); day < 4 {
			r.LatestRelease, r.LatestReleaseAt = nil, nil
		}
	})
	s = f("4 renamed, 6 transferred, 8 renamed", 20, func(day int, r *o) {
		r.NameWithOwner = "acme/tool"
		for from, name := range map[int]string{4: "acme/tools", 6: "globex/tools", 8: "Globex/tools"} {
			if day >= from && day < from+2 || day >= 8 && from == 8 {
				r.NameWithOwner = name
			}
		}
	})[1]
	if s.Words != "acme/tools is now globex/tools" || s.Owner != "globex" {
		t.Errorf("%+v: %s", s, s.Words)
	}
	f("4 archived, 9 archived", 20, func(day int, r *o) { r.IsArchived = day >= 4 && day < 6 || day >= 9 })
	f("4 history_rewritten, 14 history_rewritten", 20, func(day int, r *o) {
		*r.CommitsTotal += []int64{0, 1, 2, 3, 1, 5, 4, 9, 10, 11, 12, 13, 14, 15, 2, 3, 4, 5, 6, 7}[day] // on day 6 it is quiet
		if day >= 16 {                                                                                    // another branch's are not comparable
			r.DefaultBranch, *r.CommitsTotal = new("next"), 10
		}
	})
	all := f("4 counter_fallen, 4 counter_fallen, 15 counter_fallen", 20, func(day int, r *o) {
		if day == 4 || day == 6 || day == 15 {
			*r.Forks = 49
		}
		if day == 4 {
			r.Stars = 12
		}
	})
	if *all[0].Metric != "stars" || *all[1].Metric != "forks" || *all[1].Value != 49 || *all[1].Usual != 100 || all[0].ID == all[1].ID {
		t.Errorf("%+v, %+v", all[0], all[1])
	}
	f("", 20, func(day int, r *o) { // half is not more than half, and what was not observed has not fallen
		if day == 4 {
			*r.Forks = 50
		}
		if day == 8 {
			r.Forks, r.CommitsTotal, r.Releases, r.LatestReleaseAt, r.DefaultBranch = nil, nil, nil, nil, nil
		}
	})
}

// lively makes hourly readings in which much happens.
func (f *forge) lively(id int64, n int) []event.RepoObserved {
	out := f.growth(id, 10, (n+23)/24)[:n]
	owner, name, archived, commits, extra := "acme", "tool", false, int64(90_000), int64(0)
	released := out[0].ObservedAt.AddDate(0, -1, 0)
	for i := range out {
		o := &out[i]
		switch f.rng.IntN(60) {
		case 0:
			extra += f.rng.Int64N(400)
		case 1:
			owner = []string{"acme", "globex"}[f.rng.IntN(2)]
		case 2:
			name = fmt.Sprintf("tool-%d", f.rng.IntN(3))
		case 3:
			archived = !archived
		case 4:
			commits -= f.rng.Int64N(100)
		case 5:
			released = o.ObservedAt
		case 6:
			*o.Forks /= 3
		case 7:
			o.Forks = nil
		}
		o.NameWithOwner, o.Owner, o.Name, o.IsArchived = owner+"/"+name, owner, name, archived
		o.Stars, o.CommitsTotal, o.LatestReleaseAt = o.Stars+extra, new(commits), new(released)
		if f.rng.IntN(40) == 0 {
			o.Stars = 3 // a collapse
		}
		// Some share an hour.
		o.ObservedAt = o.ObservedAt.Add(-time.Duration(f.rng.IntN(59)) * time.Minute * time.Duration(i%2))
	}
	return out
}

// TestSignalsAreTheSameInAnyBlocksAfterCrashesAndRebuilds, and the same records again
// raise none: however the work is cut, whether Redis is behind or empty.
func TestSignalsAreTheSameInAnyBlocksAfterCrashesAndRebuilds(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		e, redis := newTestEngine(t, cacheLimits{})
		f := &forge{e.codec, rand.New(rand.NewPCG(seed, 11))}
		var all []event.RepoObserved
		for id := range int64(3) {
			all = append(all, f.lively(id+1, 24*20)...)
		}
		slices.SortStableFunc(all, func(a, b event.RepoObserved) int { return a.ObservedAt.Compare(b.ObservedAt) })
		out, err := f.run(t.Context(), e, all)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[string]int{}
		want := map[string][]byte{}
		for _, r := range out.signals {
			id := event.Header(r, "ce_id")
			kinds[id[:strings.Index(id, "/")]]++
			want[id] = r.Value
		}
		if len(want) != len(out.signals) || len(kinds) < 7 {
			t.Fatalf("seed %d: %d ids of %d signals, %v", seed, len(want), len(out.signals), kinds)
		}

		// What a crash leaves to be caught up on is read from Kafka.
		client, err := kgo.NewClient(kgo.SeedBrokers(e.kafka.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		p := kafka.Partition{Topic: event.TopicBaseRepos, Number: 1}
		var records []*kgo.Record
		for _, o := range slices.Concat(all, all) {
			r, err := e.codec.Record(t.Context(), &o, false)
			if err != nil {
				t.Fatal(err)
			}
			r.Partition, r.Offset = p.Number, int64(len(records))
			records = append(records, r)
			client.Produce(t.Context(), &kgo.Record{Topic: p.Topic, Partition: p.Number, Key: r.Key, Value: r.Value, Headers: r.Headers}, nil)
		}
		if err := client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}

		got := map[string][]byte{}
		for first := 0; first < len(records); {
			next := min(len(records), first+1+f.rng.IntN(400))
			b := kafka.Block{
				First: kafka.Offsets{p: int64(first)}, Next: kafka.Offsets{p: int64(next)}, Records: records[first:next],
			}
			var mu sync.Mutex
			var produced []*kgo.Record
			settle, err := e.transform(t.Context(), b, func(r *kgo.Record) { // by several goroutines
				mu.Lock()
				defer mu.Unlock()
				if r.Topic == event.TopicSignals {
					produced = append(produced, r)
				}
			})
			if errors.Is(err, errChangedElsewhere) {
				continue // Redis was emptied: the next session finds it so
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range produced {
				id := event.Header(r, "ce_id")
				if _, twice := got[id]; twice {
					t.Errorf("seed %d: %s came twice", seed, id)
				}
				got[id] = r.Value
			}
			first = next
			if f.rng.IntN(4) == 0 { // a crash after the commit, before Redis
				e = newEngine(e.kafka, e.codec, e.store, cacheLimits{})
			} else if err := settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if f.rng.IntN(8) == 0 {
				redis.FlushAll()
			}
		}
		for id, value := range want {
			if !bytes.Equal(got[id], value) {
				t.Errorf("seed %d: %s: got %x, want %x", seed, id, got[id], value)
			}
		}
		if len(got) != len(want) {
			t.Errorf("seed %d: %d signals, want %d", seed, len(got), len(want))
		}
		t.Logf("seed %d: %v", seed, kinds)
	}
}
