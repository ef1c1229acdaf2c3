package sweep

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

// sweepTwice has all swept, changes the world, and has all swept again an hour
// later.
func (w *world) sweepTwice(s *Sweeper, between func(*emulator.World)) {
	w.t.Helper()
	w.tick(s, "sweep")
	w.deliver(s)
	time.Sleep(time.Hour)
	w.github.Change(between)
	w.tick(s, "sweep")
	w.deliver(s)
}

// counts are the fields of a ledger line that say what changed.
func counts(l event.OwnerSwept) string {
	show := func(n *int64) string {
		if n == nil {
			return "null"
		}
		return fmt.Sprint(*n)
	}
	return fmt.Sprintf("%s: expected %s, seen %d, new %s, renamed %s, gone %s, unanswered %d",
		l.Status, show(l.Expected), l.Seen, show(l.New), show(l.Renamed), show(l.Gone), l.Unanswered)
}

func repoOf(o *emulator.Owner, name string) *emulator.Repo {
	return o.Repos[slices.IndexFunc(o.Repos, func(r *emulator.Repo) bool { return r.Name == name })]
}

func TestTheLedgerSaysWhatIsNewRenamedAndGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.sweepTwice(s, func(g *emulator.World) {
			acme, jane := g.Owner("acme"), g.Owner("jane")
			repoOf(acme, "repo-1").Name = "another-name"
			moved := repoOf(acme, "repo-2")
			acme.Repos = slices.DeleteFunc(acme.Repos, func(r *emulator.Repo) bool { return r.Name == "repo-0" || r == moved })
			jane.Repos = append(jane.Repos, moved)
			repoOf(acme, "repo-3").Private = true
			acme.Repos = append(acme.Repos, &emulator.Repo{ID: 5001, Name: "young", Branch: "main", CreatedAt: time.Now(), PushedAt: time.Now()})
		})
		lines := w.ledger()
		for owner, want := range map[string][]string{ // one that moved is new where it came
			"Acme": {
				"complete: expected 7, seen 7, new null, renamed null, gone null, unanswered 0",
				"complete: expected 5, seen 5, new 1, renamed 1, gone 3, unanswered 0",
			},
			"jane": {
				"complete: expected 3, seen 3, new null, renamed null, gone null, unanswered 0",
				"complete: expected 4, seen 4, new 1, renamed 0, gone 0, unanswered 0",
			},
		} {
			for i, l := range lines[owner] {
				if got := counts(l); got != want[i] {
					t.Errorf("%s in sweep %d: %s, want %s", owner, i+1, got, want[i])
				}
			}
		}
		// Identity is the id: the renamed and the moved one go on as themselves.
		all := w.observed()
		if names := namesOf(all[1001]); !reflect.DeepEqual(names, []string{"Acme/repo-1", "Acme/another-name"}) {
			t.Errorf("1001 is observed as %v", names)
		}
		if names := namesOf(all[1002]); !reflect.DeepEqual(names, []string{"Acme/repo-2", "jane/repo-2"}) {
			t.Errorf("1002 is observed as %v", names)
		}
	})
}

func namesOf(all []event.RepoObserved) (names []string) {
	for _, o := range all {
		names = append(names, o.NameWithOwner)
	}
	return names
}

func TestWhatIsGoneIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.sweepTwice(s, func(g *emulator.World) { acme := g.Owner("acme"); acme.Repos = acme.Repos[1:] })
		time.Sleep(time.Hour)
		w.tick(s, "sweep")
		w.deliver(s)
		for i, want := range []string{"gone null", "gone 1", "gone 0"} {
			if got := counts(w.ledger()["Acme"][i]); !strings.Contains(got, want) {
				t.Errorf("sweep %d: %s, want %s", i+1, got, want)
			}
		}
	})
}

func TestWithoutAMemoryNobodyLooked(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.sweepTwice(s, func(*emulator.World) { w.redis.FlushAll() })
		for i, l := range w.ledger()["Acme"] {
			if got := counts(l); got != "complete: expected 7, seen 7, new null, renamed null, gone null, unanswered 0" {
				t.Errorf("sweep %d: %s", i+1, got)
			}
		}
	})
}

func TestANullNodeIsAskedForByID(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Fail(nil, nil, emulator.Blank(1)) // whose token, what owner, the first page
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if got := counts(w.line("Acme")); got != "complete: expected 7, seen 7, new null, renamed null, gone null, unanswered 0" {
			t.Error(got)
		}
		all := w.observed()
		if len(all) != 7 || len(all[1001]) != 1 {
			t.Fatalf("%d repositories, 1001 is observed %d times", len(all), len(all[1001]))
		}
		if o := all[1001][0]; o.Stars != 100100 || *o.CommitsTotal != 1002 || *o.MergedPRs != 1008 || len(o.Languages) != 2 || len(o.Topics) != 2 {
			t.Errorf("observed %+v", o)
		}
	})
}

func TestADeletedRepositoryIsNotUnanswered(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Fail(nil, nil, emulator.Blank(1))
		w.github.Observe(func(q emulator.Request) {
			if q.Operation == "organization" && q.After != "" {
				w.github.Change(func(g *emulator.World) {
					acme := g.Owner("acme")
					acme.Repos = slices.DeleteFunc(acme.Repos, func(r *emulator.Repo) bool { return r.ID == 1001 })
				})
				w.github.Observe(nil)
			}
		})
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if got := counts(w.line("Acme")); got != "complete: expected 6, seen 6, new null, renamed null, gone null, unanswered 0" {
			t.Error(got)
		}
	})
}

func TestARepositoryThatComesBehindTheCursorIsSeen(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Observe(func(q emulator.Request) {
			if q.Operation == "organization" && q.After != "" {
				w.github.Change(func(g *emulator.World) { repoOf(g.Owner("acme"), "repo-7").Private = false })
				w.github.Change(func(g *emulator.World) {
					repoOf(g.Owner("acme"), "repo-7").CreatedAt = time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)
				})
				w.github.Observe(nil)
			}
		})
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if got := counts(w.line("Acme")); got != "complete: expected 8, seen 8, new null, renamed null, gone null, unanswered 0" {
			t.Error(got)
		}
	})
}

func TestWhatHasNotChangedIsCarriedOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		var second time.Time
		w.sweepTwice(s, func(g *emulator.World) {
			second = time.Now()
			pushed := repoOf(g.Owner("acme"), "repo-1")
			pushed.PushedAt, pushed.UpdatedAt = time.Now(), time.Now()
			pushed.Commits, pushed.MergedPRs, pushed.Topics = 77, 88, []string{"fresh"}
			repoOf(g.Owner("acme"), "repo-2").Stars = 5
		})
		asked := 0
		for _, q := range w.github.Requests() {
			if q.Operation == "nodes" && !q.At.Before(second) { // time need not have passed since
				asked++
			}
		}
		if asked != 2 { // what was pushed to, and its history
			t.Errorf("the second sweep asked %d times by id", asked)
		}
		all := w.observed()
		if o := all[1001][1]; *o.CommitsTotal != 77 || *o.MergedPRs != 88 || !reflect.DeepEqual(o.Topics, []string{"fresh"}) {
			t.Errorf("after the push: %+v", o)
		}
		was, is := all[1002][0], all[1002][1]
		if is.Stars != 5 || !is.ObservedAt.After(was.ObservedAt) {
			t.Errorf("the counters of a repository without a push: %+v", is)
		}
		is.Stars, is.ObservedAt, is.SweepID = was.Stars, was.ObservedAt, was.SweepID
		if !reflect.DeepEqual(is, was) {
			t.Errorf("carried over\n%+v, want\n%+v", is, was)
		}
	})
}

func TestRepositoriesByNameAreFollowedThroughARename(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["OWNERS"] = "acme/Repo-1 acme/repo-4 acme/no-such"
		s := w.start()
		w.sweepTwice(s, func(g *emulator.World) { repoOf(g.Owner("acme"), "repo-1").Name = "another-name" })
		lines := w.ledger()["Acme"]
		for i, want := range []string{
			"incomplete: expected 3, seen 2, new null, renamed null, gone null, unanswered 0",
			"incomplete: expected 3, seen 2, new 0, renamed 1, gone 0, unanswered 0",
		} {
			if got := counts(lines[i]); got != want || !strings.Contains(*lines[i].Reason, "no-such") {
				t.Errorf("sweep %d: %s (%s), want %s", i+1, got, *lines[i].Reason, want)
			}
		}
		if all := w.observed(); len(all) != 2 || !reflect.DeepEqual(namesOf(all[1001]), []string{"Acme/repo-1", "Acme/another-name"}) {
			t.Errorf("observed %v", all)
		}
	})
}

func TestExcludedRepositoriesAreNeitherObservedNorMissed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		if err := s.owners.Add(t.Context(), Owner{Login: "acme", Exclude: []string{"repo-[0-2]"}}); err != nil {
			t.Fatal(err)
		}
		w.sweepTwice(s, func(*emulator.World) {})
		for i, want := range []string{"complete: expected 4, seen 4, new null", "complete: expected 4, seen 4, new 0, renamed 0, gone 0"} {
			if got := counts(w.ledger()["Acme"][i]); !strings.HasPrefix(got, want) {
				t.Errorf("sweep %d: %s, want %s", i+1, got, want)
			}
		}
		if all := w.observed(); all[1000] != nil || all[1003] == nil {
			t.Error("the wrong ones are observed")
		}
	})
}

func TestTheSweepOfARemovedOwnerEnds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.tick(s, "sweep")
		if err := s.owners.Remove(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		w.deliver(s)
		if l := w.line("acme"); l.Status != event.StatusIncomplete || !strings.Contains(*l.Reason, "removed") {
			t.Errorf("ledger line %+v", l)
		}
		time.Sleep(time.Hour)
		w.tick(s, "sweep")
		w.deliver(s)
		w.line("acme") // and there is no other
	})
}
