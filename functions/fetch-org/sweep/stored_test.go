package sweep

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

// stored is what testdata/sweep.json holds: Redis in the middle of a sweep of
// acme, as an earlier version of the function left it.
type stored struct {
	Strings map[string]string             `json:"string"`
	Hashes  map[string]map[string]string  `json:"hash"`
	Sets    map[string][]string           `json:"set"`
	Sorted  map[string]map[string]float64 `json:"zset"`
}

func readStored(t *testing.T) (s stored) {
	t.Helper()
	text, err := os.ReadFile("testdata/sweep.json")
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What an earlier version has stored is continued: its cursor, its counts, what
// it noted as missing, what it remembers of each repository.
func TestASweepOfAnEarlierVersionIsContinued(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		at := time.Date(2026, 1, 1, 13, 51, 0, 0, time.UTC)
		time.Sleep(time.Until(at))
		was := readStored(t)
		for key, v := range was.Strings {
			if err := w.redis.Set(key, v); err != nil {
				t.Fatal(err)
			}
		}
		for key, fields := range was.Hashes {
			for field, v := range fields {
				w.redis.HSet(key, field, v)
			}
		}
		for key, members := range was.Sets {
			if _, err := w.redis.SAdd(key, members...); err != nil {
				t.Fatal(err)
			}
		}
		for key, members := range was.Sorted {
			for m, score := range members {
				if _, err := w.redis.ZAdd(key, score, m); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.github.Change(func(g *emulator.World) { // as GitHub was when they were stored
			acme := g.Owner("acme")
			repoOf(acme, "repo-1").Name = "another-name"
			repoOf(acme, "repo-0").PushedAt = at.Add(-time.Hour)
			acme.Repos = slices.DeleteFunc(acme.Repos, func(r *emulator.Repo) bool { return r.Name == "repo-2" })
			young := at.Add(-time.Hour)
			acme.Repos = append(acme.Repos, &emulator.Repo{ID: 5001, Name: "young", Branch: "main", CreatedAt: young, PushedAt: young})
		})
		s := w.start()
		w.tick(s, "wake")
		w.deliver(s)
		l := w.line("Acme")
		if got, want := counts(l), "complete: expected 7, seen 7, new 1, renamed 1, gone 1, unanswered 0"; got != want || l.SweepID != "2026-01-01T13:00:00Z" {
			t.Errorf("sweep %s: %s, want %s", l.SweepID, got, want)
		}
		if l.Pages != 6 || l.Points != 10 || l.Reason == nil || !strings.Contains(*l.Reason, "forks 1") || !l.StartedAt.Equal(time.Date(2026, 1, 1, 13, 10, 0, 232e6, time.UTC)) {
			t.Errorf("ledger line %+v: it is not counted on", l)
		}
		all := w.observed()
		for _, seen := range []int64{1001, 1003, 1004, 1005, 1006} {
			if len(all[seen]) != 0 {
				t.Errorf("repository %d, which the earlier version had observed, is observed again", seen)
			}
		}
		if len(all[1000]) != 1 || len(all[5001]) != 1 || len(all[1002]) != 0 {
			t.Errorf("observed %v, want acme's 1000 and 5001", all)
		}
		if l := w.line("jane"); l.Status != event.StatusComplete || *l.New != 0 {
			t.Errorf("ledger line %+v", l)
		}
	})
}

// A version that writes another form would not be read by one before it, which
// runs beside it during an upgrade.
func TestTheStoredFormStays(t *testing.T) {
	encoded := map[string]func(text string) (any, error){
		"sweep:": func(text string) (any, error) { return decode(event.FetchRequested{}, text) },
		"known:": func(text string) (any, error) { k := &cachedRepo{}; return k, json.Unmarshal([]byte(text), k) },
		"owners": func(text string) (any, error) { o := &Owner{}; return o, json.Unmarshal([]byte(text), o) },
	}
	compared := 0
	for key, fields := range readStored(t).Hashes {
		for prefix, read := range encoded {
			if !strings.HasPrefix(key, "github:pipeline:"+prefix) {
				continue
			}
			for field, text := range fields {
				if field == "token" || field == "baseline" {
					continue
				}
				v, err := read(text)
				if err != nil {
					t.Fatal(err)
				}
				got, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != text {
					t.Errorf("%s %s is written as\n%s, want\n%s", key, field, got, text)
				}
				compared++
			}
		}
	}
	if compared != 4+10+2 {
		t.Errorf("%d values compared, want all checkpoints, cached repositories and owners", compared)
	}
}
