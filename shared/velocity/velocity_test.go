package velocity

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/repo"
)

func at(text string) int64 {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t.UnixMilli()
}

// point makes a reading of some values; the others are unobserved.
func point(when string, known map[Value]int64) Point {
	p := Point{At: at(when)}
	for v := range p.Values {
		p.Values[v] = Unobserved
	}
	for v, n := range known {
		p.Values[v] = n
	}
	return p
}

func starred(when int64, stars int64) Point {
	p := point("1970-01-01 00:00", map[Value]int64{Stars: stars})
	p.At = when
	return p
}

func num(v int64) *int64 { return &v }

func TestDeltaIsMeasuredFromTheLatestBaseInItsRange(t *testing.T) {
	// f inserts points of (time, stars) and checks the deltas of the last one,
	// written as "1h 24h 7d 30d" with nil for none.
	f := func(want [spans]*int64, points ...any) {
		t.Helper()
		var h History
		var last Point
		for i := 0; i < len(points); i += 2 {
			last = starred(at(points[i].(string)), int64(points[i+1].(int)))
			h = h.Insert(last)
		}
		v := h.Measure(last)
		for s, window := range Windows() {
			if got := v.Int(Delta(Stars, Span(s))); !reflect.DeepEqual(got, want[s]) {
				t.Errorf("%s: got %v, want %v", window.Name, show(got), show(want[s]))
			}
		}
	}
	// First sight has no velocity: null, not the whole count.
	f([spans]*int64{}, "2025-03-01 12:00", 100)
	// Yesterday's reading is the base of 24 h only.
	f([spans]*int64{nil, num(5), nil, nil}, "2025-02-28 12:00", 95, "2025-03-01 12:00", 100)
	// A fall is shown, never clipped.
	f([spans]*int64{nil, num(-7), nil, nil}, "2025-02-28 12:00", 107, "2025-03-01 12:00", 100)
	// A base may be younger than the window by the slack, not by more.
	f([spans]*int64{num(1), nil, nil, nil}, "2025-03-01 11:15", 99, "2025-03-01 12:00", 100)
	f([spans]*int64{nil, nil, nil, nil}, "2025-03-01 11:16", 99, "2025-03-01 12:00", 100)
	// It may be older up to twice the window, not by more.
	f([spans]*int64{nil, num(2), nil, nil}, "2025-02-27 12:00", 98, "2025-03-01 12:00", 100)
	f([spans]*int64{nil, nil, nil, nil}, "2025-02-27 11:59", 98, "2025-03-01 12:00", 100)
	// Of several the latest counts.
	f([spans]*int64{nil, num(3), nil, nil}, "2025-02-27 13:00", 90, "2025-02-28 12:30", 97, "2025-03-01 12:00", 100)
	// Each window has a base of its own.
	f([spans]*int64{nil, num(1), num(10), num(40)}, "2025-01-30 00:00", 60, "2025-02-22 00:00", 90, "2025-02-28 00:00", 99, "2025-03-01 00:00", 100)
	// A gap is a gap: after ten days without a reading there is no 24 h delta.
	f([spans]*int64{nil, nil, num(10), nil}, "2025-02-19 00:00", 90, "2025-03-01 00:00", 100)
}

func show(v *int64) any {
	if v == nil {
		return nil
	}
	return *v
}

func TestRateIsOverTheSpanThatWasObserved(t *testing.T) {
	h := History{}.Insert(starred(at("2025-02-27 12:00"), 90))
	p := starred(at("2025-03-01 12:00"), 100)
	v := h.Insert(p).Measure(p)
	for _, r := range Rates() {
		if got := r.Of(&v, time.UnixMilli(p.At)); r.Name == "stars_per_day_24h" && (got == nil || *got != 5) {
			t.Errorf("10 stars in two days are %v a day, want 5", got)
		} else if r.Name == "stars_per_day_7d" && got != nil {
			t.Errorf("without a base there are %v a day", *got)
		}
	}
	if !v.Time(BaseAt(Day)).Equal(time.UnixMilli(at("2025-02-27 12:00"))) {
		t.Errorf("base at %v", v.Time(BaseAt(Day)))
	}
}

func TestUnobservedCounterHasNoDelta(t *testing.T) {
	h := History{}.Insert(point("2025-02-28 12:00", map[Value]int64{Stars: 90, Forks: 3}))
	p := point("2025-03-01 12:00", map[Value]int64{Stars: 100, OpenIssues: 4})
	v := h.Insert(p).Measure(p)
	if v.Has(Delta(Forks, Day)) || v.Has(Delta(OpenIssues, Day)) {
		t.Errorf("want null for forks and open issues: one end of each is unknown")
	}
	if got := v.Int(Delta(Stars, Day)); got == nil || *got != 10 {
		t.Errorf("stars %v", got)
	}
}

// hourly makes readings with jitter and gaps over some days.
func hourly(rng *rand.Rand, days int) []Point {
	var out []Point
	for i := range days * 24 {
		if rng.IntN(10) == 0 {
			continue
		}
		out = append(out, starred(at("2025-01-01 00:00")+int64(i)*hour+rng.Int64N(hour), rng.Int64N(1000)))
	}
	slices.SortFunc(out, func(a, b Point) int { return int(a.At - b.At) })
	return slices.CompactFunc(out, func(a, b Point) bool { return a.At == b.At })
}

func TestHistoryDependsOnlyOnWhatWasInserted(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		points := hourly(rng, 1+rng.IntN(80))
		var ordered, shuffled History
		for _, p := range points {
			ordered = ordered.Insert(p)
		}
		mixed := slices.Concat(points, points[:len(points)/2]) // and some twice
		rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		for _, p := range mixed {
			shuffled = shuffled.Insert(p)
		}
		if !reflect.DeepEqual(ordered, shuffled) {
			t.Fatalf("seed %d: %d points in order, %d shuffled", seed, len(ordered), len(shuffled))
		}
		if len(ordered) > MaxPoints {
			t.Fatalf("seed %d: %d points, more than %d", seed, len(ordered), MaxPoints)
		}
	}
}

func TestThinnedHistoryLosesNoDailyBase(t *testing.T) {
	// Against the definition over all points, with no thinning.
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var h, all History
		for d := range 200 {
			if rng.IntN(6) == 0 {
				continue
			}
			p := starred(at("2025-01-01 00:00")+int64(d)*day, rng.Int64N(100_000))
			h, all = h.Insert(p), append(all, p)
			got, want := h.Measure(p), all.Measure(p)
			if got != want {
				t.Fatalf("seed %d, day %d: %+v, want %+v", seed, d, got.Values(), want.Values())
			}
		}
	}
}

// TestPointHoldsTheCountersOfAnObservation: each by the name of its field, and
// as not observed where it was not.
func TestPointHoldsTheCountersOfAnObservation(t *testing.T) {
	o := repo.Observation{ObservedAt: time.UnixMilli(5).UTC(), NameWithOwner: "o/n"}
	bare := PointOf(&o)
	values := map[string]int64{}
	for i, f := range repo.Fields() {
		values[f.Name] = int64(1000 + i)
		switch at := f.At.(type) {
		case func(*repo.Observation) *int64:
			*at(&o) = values[f.Name]
		case func(*repo.Observation) **int64:
			*at(&o) = new(values[f.Name])
		}
	}
	full := PointOf(&o)
	for c, name := range Counters() {
		if want := values[name]; full.Values[c] != want || want == 0 {
			t.Errorf("%s is %d, want %d", name, full.Values[c], want)
		}
		if Value(c) != Stars && bare.Values[c] != Unobserved {
			t.Errorf("%s is %d, was not observed", name, bare.Values[c])
		}
	}
	if full.At != 5 || bare.Values[PushedAt] != Unobserved || bare.Values[Name] == Unobserved || bare.Values[Branch] != Unobserved {
		t.Errorf("%+v", bare)
	}
}

// A repository that is read every hour has one point for each of its earlier days.
func TestAccelerationOverAWeekIsKnownWhateverTheHour(t *testing.T) {
	var h History
	for i := range int64(20 * 24) {
		p := point("2025-01-01 00:00", nil)
		p.At += i * hour
		p.Values[Stars] = 1000 + i
		h = h.Insert(p)
		if v := h.Measure(p); i >= 15*24 && !v.Has(StarsAcceleration(Week)) {
			t.Errorf("hour %d of day %d: the acceleration over 7 days is unknown", i%24, i/24)
		}
	}
}
