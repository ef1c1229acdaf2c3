package sweep

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/lease"
	"github.com/m7pulse/m7pulse/shared/repo"
)

func TestATickAsksForEveryOwner(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.tick(s, "sweep")
		got := map[event.FetchRequested]bool{}
		for _, r := range w.records(event.TopicFetchRequests) {
			request, err := w.codec.Requested(t.Context(), asEvent(r))
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Key) != request.Login {
				t.Errorf("key %q of the request for %s", r.Key, request.Login)
			}
			got[request] = true
		}
		want := map[event.FetchRequested]bool{{SweepID: w.sweepID(), Login: "acme"}: true, {SweepID: w.sweepID(), Login: "jane"}: true}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("asked for %v, want %v", got, want)
		}
	})
}

func TestASweepObservesEachPublicRepositoryOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		before := time.Now()
		w.tick(s, "sweep")
		w.deliver(s)

		all := w.observed()
		if len(all) != 10 {
			t.Errorf("%d repositories are observed, want 10", len(all))
		}
		for id, observations := range all {
			if len(observations) != 1 {
				t.Errorf("repository %d is observed %d times", id, len(observations))
			}
		}
		o := all[1001][0]
		if o.ObservedAt.Before(before.Truncate(time.Millisecond)) || o.ObservedAt.After(time.Now()) {
			t.Errorf("observed at %s, not when the page was answered", o.ObservedAt)
		}
		o.ObservedAt = time.Time{}
		want := repo.Observation{
			ID: 1001, NodeID: "R_1001", NameWithOwner: "Acme/repo-1", Owner: "Acme", Name: "repo-1",
			OwnerType: "Organization", Company: new("meta"), Description: new("The 1. of them"),
			PrimaryLanguage: new("Go"), Languages: []repo.Language{{Name: "Go", Bytes: 10010}, {Name: "Shell", Bytes: 1001}},
			Topics: []string{"kafka", "topic-1"}, License: new("MIT"), DefaultBranch: new("main"),
			CreatedAt: new(time.Date(2015, 1, 2, 12, 0, 0, 0, time.UTC)),
			PushedAt:  new(time.Date(2025, 1, 2, 12, 0, 0, 0, time.UTC)),
			UpdatedAt: new(time.Date(2025, 1, 2, 12, 0, 0, 0, time.UTC)),
			Stars:     100100, Forks: new(int64(1003)), Watchers: new(int64(1004)),
			OpenIssues: new(int64(1005)), ClosedIssues: new(int64(1006)),
			OpenPRs: new(int64(1007)), MergedPRs: new(int64(1008)), ClosedPRs: new(int64(1009)),
			AssignableUsers: new(int64(1013)), Discussions: new(int64(1010)), Releases: new(int64(1011)),
			LatestRelease: new("v1.1"), LatestReleaseAt: new(time.Date(2025, 1, 2, 12, 0, 0, 0, time.UTC)),
			CommitsTotal: new(int64(1002)), DiskKB: new(int64(1012)),
			SweepID: w.sweepID(), Source: "graphql",
		}
		if !reflect.DeepEqual(o, want) {
			t.Errorf("observed\n%+v, want\n%+v", o, want)
		}
		if e := all[2002][0]; e.DefaultBranch != nil || e.CommitsTotal != nil || e.PrimaryLanguage != nil || e.License != nil || e.LatestRelease != nil || e.Description != nil || e.Company != nil {
			t.Errorf("of an empty repository something is observed that is not there: %+v", e)
		}
		if all[2000][0].OwnerType != "User" {
			t.Errorf("jane is a %s", all[2000][0].OwnerType)
		}
	})
}

func TestTheLedgerSaysHowCompleteASweepIs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.tick(s, "sweep")
		w.deliver(s)
		for owner, want := range map[string]event.OwnerSwept{
			"Acme": {Expected: new(int64(7)), Seen: 7, Pages: 4, Points: 10},
			"jane": {Expected: new(int64(3)), Seen: 3, Pages: 1, Points: 3},
		} {
			got := w.line(owner)
			if got.Status != event.StatusComplete || *got.Expected != *want.Expected || got.Seen != want.Seen || got.Pages != want.Pages ||
				got.Points != want.Points || got.Unanswered != 0 || got.Reason != nil || got.SweepID != w.sweepID() {
				t.Errorf("ledger line %+v", got)
			}
			if got.FinishedAt.Before(got.StartedAt) || got.StartedAt.IsZero() {
				t.Errorf("%s was swept from %s to %s", owner, got.StartedAt, got.FinishedAt)
			}
		}
		if open, err := s.sweeps.unpublished(t.Context()); err != nil || len(open) != 0 {
			t.Errorf("still open: %v, %v", open, err)
		}
	})
}

func TestAFinishedSweepAskedForAgainDoesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.tick(s, "sweep")
		w.deliver(s)
		asked := len(w.github.Requests())
		w.tick(s, "sweep") // a second scheduler
		w.deliver(s)
		w.tick(s, "wake")
		w.deliver(s)
		if n := len(w.github.Requests()); n != asked {
			t.Errorf("GitHub was asked %d times more", n-asked)
		}
		w.line("Acme")
	})
}

func TestARequestPostedByHandIsServedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		if err := s.Fetch(t.Context(), w.requested("Jane", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if l := w.line("jane"); l.Status != event.StatusComplete {
			t.Errorf("ledger line %+v", l)
		}
	})
}

func TestASweepKilledBetweenPagesResumesAtItsCursor(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first := w.start()
		w.tick(first, "sweep")
		dying, kill := context.WithCancel(t.Context())
		w.github.Observe(func(q emulator.Request) {
			if q.Operation == "organization" && w.pagesAsked("acme") == 2 {
				kill()
				time.Sleep(50 * time.Millisecond)
			}
		})
		if err := first.Fetch(dying, w.requested("acme", w.sweepID())); err == nil {
			t.Fatal("a killed handler answered 2xx")
		}
		w.github.Observe(nil)
		if cp := w.checkpoint(first, "acme", w.sweepID()); cp.Line.Pages != 2 || cp.Cursor == "" {
			t.Fatalf("checkpoint %+v, want it after page 2", cp)
		}

		w.request = len(w.records(event.TopicFetchRequests)) // all that was asked for is lost
		second := w.start()
		time.Sleep(time.Minute)
		w.tick(second, "wake")
		w.deliver(second)
		if l := w.line("Acme"); l.Status != event.StatusComplete || l.Seen != 7 || l.Pages != 4 {
			t.Errorf("ledger line %+v", l)
		}
		for id, observations := range w.observed() {
			if len(observations) != 1 {
				t.Errorf("repository %d is observed %d times though each page was checkpointed", id, len(observations))
			}
		}
		w.line("jane") // never begun, but known to the wake
	})
}

func TestAStoppingFunctionHandsTheRestOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first := w.start()
		stopped := make(chan error, 1)
		w.github.Observe(func(q emulator.Request) {
			if q.Operation == "organization" && q.After == "" {
				go func() { stopped <- first.Stop(context.Background()) }()
				for !first.handlers.Stopped() {
					time.Sleep(time.Millisecond)
				}
			}
		})
		if err := first.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		w.github.Observe(nil)
		records := w.records(event.TopicFetchRequests)
		if len(records) != 1 || !strings.HasPrefix(event.Header(records[0], "ce_id"), w.sweepID()+"/acme#part@") {
			t.Fatalf("%d continuations", len(records))
		}
		second := w.start()
		w.deliver(second)
		if l := w.line("Acme"); l.Status != event.StatusComplete || l.Pages != 4 {
			t.Errorf("ledger line %+v", l)
		}
	})
}

func TestOfTwoDeliveriesAtOnceOneFetches(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		var second error
		var once sync.Once
		w.github.Observe(func(q emulator.Request) {
			if q.Operation == "organization" {
				once.Do(func() { second = w.start().Fetch(t.Context(), w.requested("acme", w.sweepID())) })
			}
		})
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if second != nil {
			t.Errorf("the second delivery, while the first is at it: %v", second)
		}
		if n := w.pagesAsked("acme"); n != 4 {
			t.Errorf("GitHub was asked for %d pages, want 4", n)
		}
		w.line("Acme")
	})
}

func TestARequestWaitsWhileItsOwnerIsFetchedForAnotherSweep(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		if _, err := lease.Acquire(t.Context(), s.rdb, "github:pipeline:lock:acme", time.Minute); err != nil {
			t.Fatal(err)
		}
		err := s.Fetch(t.Context(), w.requested("acme", w.sweepID()))
		var held *lease.Held
		if !errors.As(err, &held) || errors.Is(err, event.ErrInvalid) {
			t.Fatalf("want Held, to be tried again, got %v", err)
		}
	})
}

func TestTheNextSweepClosesOneStillOpen(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.SetRemaining(tokenA, reservePoints+4, time.Now().Add(90*time.Minute))
		old := w.sweepID()
		if err := s.Fetch(t.Context(), w.requested("acme", old)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		w.tick(s, "sweep")
		w.deliver(s)
		lines := w.ledger()["Acme"]
		if len(lines) != 2 {
			t.Fatalf("%d ledger lines, want 2", len(lines))
		}
		if l := lines[0]; l.SweepID != old || l.Status != event.StatusIncomplete || l.Seen != 2 || l.Reason == nil || !strings.Contains(*l.Reason, w.sweepID()) {
			t.Errorf("the first sweep's line: %+v", l)
		}
		if l := lines[1]; l.SweepID != w.sweepID() || l.Status != event.StatusComplete {
			t.Errorf("the second sweep's line: %+v", l)
		}
	})
}

func TestAZombieCannotMoveTheCheckpoint(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		r := event.FetchRequested{SweepID: w.sweepID(), Login: "acme"}
		zombie, err := s.sweeps.claim(t.Context(), r, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.sweeps.claim(t.Context(), r, 2); err != nil {
			t.Fatal(err)
		}
		if err := s.sweeps.save(t.Context(), r, 1, zombie, progress{Seen: []string{"1"}}); !errors.Is(err, errFenced) {
			t.Errorf("the zombie saved: %v", err)
		}
		if _, err := s.sweeps.claim(t.Context(), r, 1); !errors.Is(err, errFenced) {
			t.Errorf("the zombie claimed: %v", err)
		}
		if err := s.end(t.Context(), &attempt{request: r, token: 1, cp: zombie}, event.StatusComplete, ""); !errors.Is(err, errFenced) {
			t.Errorf("the zombie closed the sweep: %v", err)
		}
		if n := len(w.records(event.TopicSweeps)); n != 0 {
			t.Errorf("the zombie wrote %d ledger lines", n)
		}
	})
}

func TestALineFixedBeforeACrashIsPublishedByTheNextWake(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		r := event.FetchRequested{SweepID: w.sweepID(), Login: "acme"}
		if err := s.sweeps.register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		cp, err := s.sweeps.claim(t.Context(), r, 1)
		if err != nil {
			t.Fatal(err)
		}
		cp.Line.Status, cp.Line.Seen, cp.Line.FinishedAt = event.StatusComplete, 7, time.Now()
		if err := s.sweeps.save(t.Context(), r, 1, cp, progress{}); err != nil {
			t.Fatal(err)
		}
		w.tick(s, "wake")
		w.deliver(s)
		if l := w.line("acme"); l.Seen != 7 || l.Status != event.StatusComplete {
			t.Errorf("ledger line %+v", l)
		}
		if n := len(w.github.Requests()); n != 0 {
			t.Errorf("GitHub was asked %d times", n)
		}
	})
}

func TestASweepNotFinishedInTimeIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.tick(s, "sweep")
		time.Sleep(26 * time.Hour)
		w.tick(s, "wake")
		w.request = 2 // the first requests were lost
		w.deliver(s)
		if l := w.line("acme"); l.Status != event.StatusIncomplete || l.Expected != nil || l.Reason == nil {
			t.Errorf("ledger line %+v", l)
		}
		if err := s.Fetch(t.Context(), w.requested("stranger", time.Now().Add(-26*time.Hour).UTC().Truncate(time.Hour).Format(time.RFC3339))); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("a request for an old sweep nobody knows: %v", err)
		}
	})
}
