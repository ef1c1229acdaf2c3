package demo_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/demo"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
)

func TestWorldIsTheSameEachTimeValidAndMarked(t *testing.T) {
	from, until := demo.Span(time.Date(2026, 12, 1, 10, 20, 0, 0, time.UTC))
	tell := func() (digest [2]int, counts map[string]int) {
		counts = map[string]int{}
		err := demo.Tell(t.Context(), from, func(_ context.Context, v any) error {
			switch v := v.(type) {
			case *event.RepoObserved:
				counts["observations"]++
				digest[0] = (digest[0]*31 + int(v.ID^v.Stars^*v.Forks^v.ObservedAt.Unix())) % 1_000_000_007
				if err := v.Validate(until.Add(time.Hour)); err != nil || v.Source != repo.Simulated {
					t.Fatalf("%+v: %v", v, err)
				}
				if v.ObservedAt.Before(from) || v.ObservedAt.After(until.Add(time.Minute)) || slices.Contains([]*int64{v.Forks, v.OpenPRs, v.CommitsTotal, v.Releases}, nil) {
					t.Fatalf("%+v", v)
				}
			case *event.GitHubEvent:
				counts["events"]++
				digest[1] = (digest[1]*31 + int(v.ID^v.RepoID^v.CreatedAt.Unix())) % 1_000_000_007
				if err := v.Validate(until.Add(7 * time.Hour)); err != nil || v.Source != repo.Simulated {
					t.Fatalf("%+v: %v", v, err)
				}
			case *event.OwnerSwept:
				counts["sweeps"]++
				counts["renamed"] += int(*v.Renamed)
				counts["gone"] += int(*v.Gone)
				counts["new"] += int(*v.New)
			case *event.FeedRead:
				counts[v.Status]++
				if err := v.Validate(until.Add(7 * time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return digest, counts
	}
	first, counts := tell()
	if !testing.Short() { // it takes as long again
		if again, _ := tell(); first != again {
			t.Errorf("the same time gives %v, then %v", first, again)
		}
	}
	t.Log(counts)
	if counts["renamed"] != 1 || counts["gone"] < 1 || counts["new"] < 1 || counts["gap"] != 1 || counts["observations"] < 4_000 || counts["events"] < 10_000 {
		t.Errorf("%v", counts)
	}
}
