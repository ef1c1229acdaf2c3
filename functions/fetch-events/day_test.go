package fetchevents

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/functions/fetch-events/github"
	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
)

// TestADayOfEventsIsReadWholeThroughFaults: each event that the window held at a
// reading is in Kafka, also one that was shown late; and the interval is learned well
// enough that there is no gap.
func TestADayOfEventsIsReadWholeThroughFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: make property-test runs it")
	}
	const repos, events = 200, 50_000.0
	begin := time.Now().UTC().Add(-48 * time.Hour).Truncate(time.Hour)
	world := emulator.Generate(emulator.Plan{
		Seed: 4, Owners: []emulator.OwnerPlan{{Login: "acme", Repos: repos}}, Start: begin.Add(-time.Hour),
		Feeds: emulator.Feeds{Seed: 4, Rate: events / 24, Repeated: .01, Latency: time.Hour},
	})
	in := install(t, world)
	in.clock = begin
	in.github.SetWeather(&emulator.Weather{Seed: 4, Unavailable: .01, Cut: .01, Garbage: .01, Reset: .01})
	pass := func(until time.Time) {
		for in.clock.Before(until) {
			in.redis.Del("github:pipeline:budget:{user-1@github.test}:rest:log") // whose minutes are real ones
			if err := in.wake(); err != nil && errors.Is(err, event.ErrInvalid) {
				t.Fatal(err)
			}
			in.clock = in.clock.Add(shortest)
		}
	}
	pass(begin.Add(24 * time.Hour))
	in.github.Change(func(w *emulator.World) { w.Begin(emulator.Feeds{}, in.clock) }) // it is quiet from here on
	pass(in.clock.Add(lateBy + in.cfg.Longest))

	s := in.stored()
	gaps := map[int64][]*event.FeedRead{}
	for _, l := range s.lines {
		if l.Status == feed.StatusGap {
			gaps[l.RepoID] = append(gaps[l.RepoID], l)
		}
	}
	shown, held, lost := 0, map[feed.Key]bool{}, 0
	for _, r := range world.Owners[0].Repos {
		shown += len(in.github.Happened(r.ID))
	}
	for _, l := range s.lines {
		for _, h := range in.github.Window(l.RepoID, l.ReadAt) {
			key := feed.Key{Type: h.Type, ID: h.ID, CreatedAt: h.At.UnixMilli()}
			if held[key] {
				continue
			}
			if held[key] = true; s.events[key] == nil {
				if lost++; lost < 5 {
					t.Errorf("%s of repository %d, shown at %s, was in the window of %s and is not in Kafka", key, l.RepoID, h.Shown, l.ReadAt)
				}
			}
		}
	}
	all, paid := in.asked()
	t.Logf("%d events of %d repositories, %d within a window: %d lost, %d gaps, %d records, %d requests, %d paid: %.0f per 1,000 events",
		shown, repos, len(held), lost, len(gaps), s.records, all, paid, float64(paid)*1000/float64(shown))
	if lost > 0 || len(gaps) > 0 {
		t.Errorf("%d events are lost, %d feeds have a gap", lost, len(gaps))
	}
	if float64(shown) < events*.8 || s.records != len(s.events) {
		t.Errorf("%d events happened, %d in %d records", shown, len(s.events), s.records)
	}
	if paid > shown/2 {
		t.Errorf("%d paid requests for %d events", paid, shown)
	}
}

// TestTheIntervalIsLearnedBeforeTheWindowRunsOver, for feeds of any steady rate, and
// for one that has the same burst each day.
func TestTheIntervalIsLearnedBeforeTheWindowRunsOver(t *testing.T) {
	for _, perHour := range []float64{.01, 1, 20, 150, 600, 1000} {
		for _, bursts := range []bool{false, true} {
			if bursts && perHour > 20 {
				continue
			}
			t.Run(fmt.Sprintf("%v an hour, bursts %v", perHour, bursts), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 2))
				const days = 6
				start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				end := start.AddDate(0, 0, days)
				var all []time.Time
				for at := start; at.Before(end); {
					at = at.Add(time.Duration(rng.ExpFloat64() / perHour * float64(time.Hour)))
					all = append(all, at)
				}
				if bursts {
					for day := range days {
						for i := range 250 {
							all = append(all, start.AddDate(0, 0, day).Add(12*time.Hour+time.Duration(i*10)*time.Second))
						}
					}
				}
				slices.SortFunc(all, time.Time.Compare)
				readings, overruns, read := 0, 0, 0
				last := start
				var l learned
				var cp checkpoint
				for now := start.AddDate(0, 0, 1); now.Before(end); {
					listed, _ := slices.BinarySearchFunc(all, now, time.Time.Compare)
					window := all[max(0, listed-github.WindowEvents):listed]
					fresh := listed - read
					cp.remember(fastestRun(window, github.WindowEvents/2), now)
					l = learned{interval: l.interval, elapsed: now.Sub(last), fresh: min(fresh, len(window)), overrun: readings > 0 && fresh > github.WindowEvents,
						fastest: time.Duration(cp.Fastest) * time.Second, spread: spread(window)}
					if l.overrun {
						overruns++
					}
					readings++
					read, last = listed, now
					l.interval = l.next(6 * time.Hour)
					now = now.Add(l.interval + time.Duration(rng.Int64N(int64(shortest)))) // until the next tick
				}
				if overruns > 0 && !bursts || overruns > 1 { // the first burst comes unexpected
					t.Errorf("%d overruns in %d readings", overruns, readings)
				}
				most := int(days*24*perHour)/20 + days*24 // 20 events a reading, and one an hour
				if bursts {
					most *= 6
				}
				if readings > most {
					t.Errorf("%d readings, want %d at most", readings, most)
				}
			})
		}
	}
}
