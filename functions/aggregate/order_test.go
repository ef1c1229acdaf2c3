package aggregate

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	"golang.org/x/sync/errgroup"

	"github.com/m7pulse/m7pulse/shared/event"
)

var cases = flag.Uint64("cases", 300, "how many random cases each property is tried on")

// forge makes records of random observations.
type forge struct {
	codec *event.Codec
	rng   *rand.Rand
}

// past makes observations of a repository, oldest first: at random distances
// from seconds to days, so that some share an hour and some lie beyond what a
// history keeps. Some counters are not observed, some fall, stars by nearly all.
func (f *forge) past(id int64, apart time.Duration) []event.RepoObserved {
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(f.rng.Int64N(int64(24 * time.Hour)))).Truncate(time.Millisecond)
	counter := func() *int64 {
		if f.rng.IntN(5) == 0 {
			return nil
		}
		n := f.rng.Int64N(300)
		return &n
	}
	out := make([]event.RepoObserved, 1+f.rng.IntN(7))
	for i := range out {
		at = at.Add(apart + time.Duration(f.rng.Int64N(int64(apart)))).Truncate(time.Millisecond)
		out[i] = event.RepoObserved{
			ID: id, NameWithOwner: fmt.Sprintf("o/r%d", id+f.rng.Int64N(2)), Owner: "o", Stars: 900 + f.rng.Int64N(300), Forks: counter(), Watchers: counter(),
			OpenIssues: counter(), ClosedIssues: counter(), MergedPRs: counter(), ClosedPRs: counter(), OpenPRs: counter(), Releases: counter(), CommitsTotal: counter(),
			ObservedAt: at, Source: "graphql", Languages: []event.Language{}, Topics: []string{},
		}
		out[i].Name = out[i].NameWithOwner[2:]
		if f.rng.IntN(8) == 0 {
			out[i].Stars = f.rng.Int64N(20) // a collapse
		}
	}
	return out
}

// outcome is what came out of a run: rows as they stand in Kafka.
type outcome struct {
	series map[string]*kgo.Record // the first row of each observation, by "repository@ms"
	state  map[int64]*kgo.Record  // the winning row of each repository
	rows   int

	signals []*kgo.Record
}

// run computes observations as records of one partition, in one block.
func (f *forge) run(ctx context.Context, e *engine, observations []event.RepoObserved) (*outcome, error) {
	w := &work{engine: e, cache: newCache(), histories: map[int64]*history{}, at: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)}
	out := &outcome{series: map[string]*kgo.Record{}, state: map[int64]*kgo.Record{}}
	won := map[int64][2]int64{}
	var id int64
	var failed error
	w.produce = func(r *kgo.Record) {
		if r.Topic == event.TopicSignals {
			out.signals = append(out.signals, r)
			return
		}
		out.rows++
		key, revision, _ := strings.Cut(event.Header(r, "ce_id"), "#")
		var version [2]int64
		if _, err := fmt.Sscanf(key[strings.Index(key, "@")+1:]+" "+revision, "%d %d", &version[0], &version[1]); err != nil {
			failed = err
		}
		if out.series[key] == nil {
			out.series[key] = r
		}
		if best := won[id]; version[0] > best[0] || version[0] == best[0] && version[1] > best[1] {
			won[id], out.state[id] = version, r
		}
	}
	var row event.RepoProcessed
	for i := range observations {
		o := &observations[i]
		id = o.ID
		if w.histories[id] == nil {
			w.histories[id] = &history{}
		}
		r, err := f.codec.Record(ctx, o, false)
		if err != nil {
			return nil, err
		}
		r.Offset = int64(i)
		if err := w.observe(ctx, r, o, &row); err != nil {
			return nil, err
		}
	}
	return out, failed
}

// try runs a property on random cases, on all cores.
func try(t *testing.T, property func(ctx context.Context, f *forge, e *engine) error) {
	t.Helper()
	tryOn(t, *cases, property)
}

func tryOn(t *testing.T, cases uint64, property func(ctx context.Context, f *forge, e *engine) error) {
	t.Helper()
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	defer registry.Close()
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	var all errgroup.Group
	cores := uint64(runtime.GOMAXPROCS(0))
	for core := range cores {
		all.Go(func() error {
			for seed := core; seed < cases; seed += cores {
				f := &forge{codec, rand.New(rand.NewPCG(seed, 7))}
				if err := property(t.Context(), f, &engine{codec: codec}); err != nil {
					return fmt.Errorf("seed %d: %w", seed, err)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

// expect is what the same repositories give one by one, in order.
func (f *forge) expect(ctx context.Context, e *engine, pasts [][]event.RepoObserved) (*outcome, error) {
	return f.run(ctx, e, slices.Concat(pasts...))
}

// TestAnyInterleavingAndDuplicationGivesTheSameRows: repositories mixed, each in
// its order, and observations again at any later place, as often as may be.
func TestAnyInterleavingAndDuplicationGivesTheSameRows(t *testing.T) {
	try(t, func(ctx context.Context, f *forge, e *engine) error {
		// Farther apart than a day, so that all are still kept when they come again.
		pasts := [][]event.RepoObserved{f.past(1, 25*time.Hour), f.past(2, 60*time.Hour), f.past(3, 26*time.Hour)}
		want, err := f.expect(ctx, e, pasts)
		if err != nil {
			return err
		}
		var mixed []event.RepoObserved
		left := slices.Clone(pasts)
		for len(left) > 0 {
			i := f.rng.IntN(len(left))
			mixed = append(mixed, left[i][0])
			for f.rng.IntN(3) == 0 {
				mixed = append(mixed, mixed[f.rng.IntN(len(mixed))])
			}
			if left[i] = left[i][1:]; len(left[i]) == 0 {
				left = slices.Delete(left, i, i+1)
			}
		}
		got, err := f.run(ctx, e, mixed)
		if err != nil {
			return err
		}
		if got.rows != want.rows || len(got.series) != len(want.series) {
			return fmt.Errorf("%d rows of %d observations, want %d of %d", got.rows, len(got.series), want.rows, len(want.series))
		}
		for key, row := range want.series {
			if g := got.series[key]; g == nil || !bytes.Equal(g.Value, row.Value) {
				return fmt.Errorf("row %s: got %v, want %v", key, g, row)
			}
		}
		return nil
	})
}

// TestAnyPermutationGivesTheSameCurrentState: whatever the order and the
// distances, the winning row is that of the newest observation, with the
// velocities that follow from all that is kept.
func TestAnyPermutationGivesTheSameCurrentState(t *testing.T) {
	try(t, func(ctx context.Context, f *forge, e *engine) error {
		apart := []time.Duration{time.Minute, 20 * time.Minute, time.Hour, 11 * time.Hour, 4 * 24 * time.Hour}
		pasts := [][]event.RepoObserved{f.past(1, apart[f.rng.IntN(len(apart))]), f.past(2, apart[f.rng.IntN(len(apart))])}
		want, err := f.expect(ctx, e, pasts)
		if err != nil {
			return err
		}
		mixed := slices.Concat(pasts...)
		f.rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		got, err := f.run(ctx, e, mixed)
		if err != nil {
			return err
		}
		if len(got.series) != len(want.series) {
			return fmt.Errorf("%d observations came out, want %d", len(got.series), len(want.series))
		}
		for id, record := range want.state {
			row, err := f.codec.Processed(ctx, record)
			if err != nil {
				return err
			}
			g, err := f.codec.Processed(ctx, got.state[id])
			if err != nil {
				return err
			}
			if g.Velocities != row.Velocities || g.Stars != row.Stars || g.Late != row.Late || g.NameWithOwner != row.NameWithOwner || !g.ObservedAt.Equal(row.ObservedAt) {
				return fmt.Errorf("state of %d: got %+v, want %+v", id, g, row)
			}
		}
		return nil
	})
}
