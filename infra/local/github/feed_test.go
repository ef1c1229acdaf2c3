package github

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// get asks the REST API.
func get(t *testing.T, s *Server, token, path, etag string) (status int, header http.Header, events []map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil).WithContext(t.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	_ = json.Unmarshal(w.Body.Bytes(), &events)
	return w.Code, w.Result().Header, events
}

// lively is a server over a world whose clock is moved by hand.
func lively(t *testing.T, f Feeds, start time.Time) (s *Server, w *World, now *time.Time) {
	t.Helper()
	w = NewWorld()
	s = newServer(t, w, "token")
	clock := start
	s.SetClock(func() time.Time { return clock })
	w.Begin(f, start)
	return s, w, &clock
}

func TestAFeedIsPagedToItsWindowAndNoFurther(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s, w, now := lively(t, Feeds{}, start)
	r := w.Owner("acme").Repos[0]
	for i := range 350 {
		w.Occur(r, "star", fmt.Sprintf("u%d", i), start.Add(time.Duration(i)*time.Minute))
	}
	*now = start.Add(350 * time.Minute)
	seen, last := map[string]bool{}, start.AddDate(1, 0, 0)
	for page := 1; page <= 3; page++ {
		status, header, events := get(t, s, "token", fmt.Sprintf("/repos/acme/repo-0/events?per_page=100&page=%d", page), "")
		if status != 200 || len(events) != 100 {
			t.Fatalf("page %d: status %d, %d events", page, status, len(events))
		}
		if next := strings.Contains(header.Get("Link"), `rel="next"`); next != (page < 3) {
			t.Errorf("page %d: link %q", page, header.Get("Link"))
		}
		for _, e := range events {
			seen[e["id"].(string)] = true
			created, _ := time.Parse(time.RFC3339, e["created_at"].(string))
			if created.After(last) {
				t.Errorf("%s comes after an older one", e["id"])
			}
			last = created
		}
	}
	if len(seen) != FeedEvents || !last.Equal(start.Add(50*time.Minute)) {
		t.Errorf("%d events down to %s, want the newest %d", len(seen), last, FeedEvents)
	}
	if status, _, _ := get(t, s, "token", "/repos/acme/repo-0/events?per_page=100&page=4", ""); status != 422 {
		t.Errorf("page 4: status %d", status)
	}
	*now = now.Add(FeedAge)
	if _, _, events := get(t, s, "token", "/repos/acme/repo-0/events?per_page=100", ""); len(events) != 0 {
		t.Errorf("%d events are older than 30 days", len(events))
	}
}

func TestAnUnchangedFeedIsFree(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s, w, _ := lively(t, Feeds{}, start)
	r := w.Owner("acme").Repos[0]
	w.Occur(r, "star", "ada", start)
	_, header, _ := get(t, s, "token", "/repos/acme/repo-0/events", "")
	left := header.Get("X-RateLimit-Remaining")
	if header.Get("X-Poll-Interval") != "60" || header.Get("X-RateLimit-Resource") != "core" {
		t.Errorf("headers %v", header)
	}
	status, header, _ := get(t, s, "token", "/repos/acme/repo-0/events", header.Get("Etag"))
	if status != http.StatusNotModified || header.Get("X-RateLimit-Remaining") != left {
		t.Errorf("status %d, remaining %s, was %s", status, header.Get("X-RateLimit-Remaining"), left)
	}
	w.Occur(r, "star", "bob", start)
	if status, _, events := get(t, s, "token", "/repos/acme/repo-0/events", header.Get("Etag")); status != 200 || len(events) != 2 {
		t.Errorf("status %d, %d events after another star", status, len(events))
	}
	if g := ask(t, s, "token", `query{viewer{login}}`, nil); g.header.Get("X-RateLimit-Used") != "1" {
		t.Errorf("REST has spent points of GraphQL: used %s", g.header.Get("X-RateLimit-Used"))
	}
}

// TestCountersMoveAsTheEventsSay: also those of events that are lost, which is what a
// meter of the loss needs.
func TestCountersMoveAsTheEventsSay(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, lost := range []float64{0, .3, 1} {
		s, w, now := lively(t, Feeds{Seed: 3, Rate: 4000, Lost: lost}, start)
		before := map[int64]Repo{}
		for _, r := range w.byID {
			before[r.ID] = *r
		}
		*now = start.Add(2 * time.Hour)
		all, hidden := 0.0, 0.0
		for id, was := range before {
			forks, merged, releases, stars := int64(0), int64(0), int64(0), int64(0)
			for _, h := range s.Happened(id) {
				all++
				if h.Shown.IsZero() {
					hidden++
				}
				switch {
				case h.Type == "ForkEvent":
					forks++
				case h.Type == "ReleaseEvent":
					releases++
				case h.Type == "WatchEvent":
					stars++
				case strings.Contains(string(h.raw), `"action":"merged"`):
					merged++
				}
			}
			is := w.byID[id]
			if is.Forks-was.Forks != forks || is.MergedPRs-was.MergedPRs != merged || is.Releases-was.Releases != releases || is.Stars-was.Stars > stars {
				t.Errorf("repository %d: forks %d, merged %d, releases %d, stars %d by the events; counters went from %+v to %+v", id, forks, merged, releases, stars, was, *is)
			}
		}
		if all < 5000 || math.Abs(hidden/all-lost) > .02 {
			t.Errorf("%v of %v events are lost, want %v", hidden, all, lost)
		}
	}
}

func TestEventsComeLateAndTwice(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s, w, now := lively(t, Feeds{Seed: 1, Latency: time.Hour, Repeated: .5}, start)
	r := w.Owner("acme").Repos[0]
	for i := range 200 {
		w.Occur(r, "star", fmt.Sprintf("u%d", i), start)
	}
	count := func() (events int, ids map[string]bool) {
		ids = map[string]bool{}
		for page := 1; page <= 3; page++ {
			_, _, some := get(t, s, "token", fmt.Sprintf("/repos/acme/repo-0/events?per_page=100&page=%d", page), "")
			for _, e := range some {
				ids[e["id"].(string)] = true
			}
			events += len(some)
		}
		return events, ids
	}
	if _, ids := count(); len(ids) > 100 {
		t.Errorf("%d of 200 events are shown at once", len(ids))
	}
	*now = start.Add(time.Hour)
	if events, ids := count(); len(ids) < 150 || events < len(ids)+50 {
		t.Errorf("after an hour %d events of %d ids, want most ids and half of them twice", events, len(ids))
	}
}

func TestBothFormsOfPayloadsAreGiven(t *testing.T) {
	for _, c := range []struct {
		at     time.Time
		action string
		author bool
	}{{trimmed().Add(-time.Hour), "closed", true}, {trimmed().Add(time.Hour), "merged", false}} {
		s, w, _ := lively(t, Feeds{}, c.at)
		r := w.Owner("acme").Repos[0]
		w.Occur(r, "open pull request", "ada", c.at)
		w.Occur(r, "merge", "bob", c.at.Add(time.Second))
		s.SetClock(func() time.Time { return c.at.Add(time.Minute) })
		_, _, events := get(t, s, "token", "/repos/acme/repo-0/events", "")
		if got := at(events[0], "payload", "action"); got != c.action || (at(events[0], "payload", "pull_request", "user", "login") == "ada") != c.author {
			t.Errorf("%s: %v", c.at, events[0])
		}
	}
}

func TestARenamedRepositoryIsRedirectedAndItsFeedGoesOn(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s, w, _ := lively(t, Feeds{}, start)
	r := w.Owner("acme").Repos[0]
	w.Occur(r, "star", "ada", start)
	s.Change(func(*World) { r.Name = "other"; w.note(r, start) })
	status, header, _ := get(t, s, "token", "/repos/acme/repo-0/events?per_page=100", "")
	if status != http.StatusMovedPermanently || header.Get("Location") != "/repositories/1000/events?per_page=100" {
		t.Fatalf("status %d, location %s", status, header.Get("Location"))
	}
	if status, _, events := get(t, s, "token", header.Get("Location"), ""); status != 200 || len(events) != 1 {
		t.Errorf("status %d, %d events", status, len(events))
	}
	if status, _, events := get(t, s, "token", "/orgs/acme/events", ""); status != 200 || len(events) != 1 {
		t.Errorf("the organization: status %d, %d events", status, len(events))
	}
	if status, _, _ := get(t, s, "token", "/repos/acme/repo-7/events", ""); status != 404 {
		t.Errorf("a private repository: status %d", status)
	}
}

func TestRequestsBeyondTheHoursLimitAreRefused(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s, _, now := lively(t, Feeds{}, start)
	s.SetRequests("token", 2)
	for i, want := range []int{200, 200, 403} {
		if status, _, _ := get(t, s, "token", "/repos/acme/repo-0/events", ""); status != want {
			t.Errorf("request %d: status %d, want %d", i+1, status, want)
		}
	}
	*now = start.Add(time.Hour + time.Second)
	if status, _, _ := get(t, s, "token", "/repos/acme/repo-0/events", ""); status != 200 {
		t.Errorf("an hour later: status %d", status)
	}
}
