package sweep

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

// finish delivers requests and wakes until no sweep is open, for at most a day
// of the function's time.
func (w *world) finish(s *Sweeper) {
	w.t.Helper()
	for range 24 * 6 {
		w.deliver(s)
		open, err := s.sweeps.unpublished(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if len(open) == 0 {
			return
		}
		time.Sleep(10 * time.Minute)
		w.tick(s, "wake")
	}
	w.t.Fatal("a sweep is still open after a day")
}

// spaced fails the test if GitHub was asked the same with the same token twice
// within a second.
func (w *world) spaced() {
	w.t.Helper()
	last := map[uint64]time.Time{}
	for _, q := range w.github.Requests() {
		if q.Operation == "viewer" {
			q.Query ^= uint64(len(q.Token)) // one question for each token
		}
		if before, ok := last[q.Query]; ok && q.At.Sub(before) < time.Second {
			w.t.Errorf("%s of %q after %q was asked again after %s", q.Operation, q.Login, q.After, q.At.Sub(before))
		}
		last[q.Query] = q.At
	}
}

func TestContinuationsAreNotRequestedFasterThanTheyCanBeServed(t *testing.T) {
	for name, setUp := range map[string]func(w *world){
		"a pause that is nearly over": func(w *world) { w.github.Fail(nil, nil, emulator.Secondary(12*time.Second)) },
		"no room for another query": func(w *world) {
			w.github.Observe(func(q emulator.Request) {
				if q.Operation != "repositoryOwner" {
					return
				}
				const inFlight = 20 // as many queries as may be
				for i := range inFlight {
					if _, err := w.redis.ZAdd("github:pipeline:budget:{user-1@"+githubAddress+"}:log", float64(time.Now().Add(30*time.Second).UnixMilli()), fmt.Sprintf("%d|f|100|1", i)); err != nil {
						t.Error(err)
					}
				}
			})
		},
	} {
		bubbled(t, name, func(t *testing.T, w *world) {
			for _, shape := range []string{"list+details", "history"} { // pages of about ten seconds
				if err := w.redis.Set("github:pipeline:width:"+shape, `{"repos":10,"typical":1}`); err != nil {
					t.Fatal(err)
				}
			}
			s := w.start()
			setUp(w)
			ended := func() bool {
				open, err := s.sweeps.unpublished(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return len(open) == 0
			}
			for began := time.Now(); ; { // a continuation that is requested comes at once
				if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
					t.Fatal(err)
				}
				if ended() {
					break
				}
				if time.Since(began) > 5*time.Minute {
					t.Fatal("the sweep does not end")
				}
			}
			if l := w.line("Acme"); l.Status != event.StatusComplete {
				t.Errorf("ledger line %+v", l)
			}
			if n := len(w.records(event.TopicFetchRequests)); n > 20 {
				t.Errorf("%d continuations were requested", n)
			}
		})
	}
}

// TestOddLimitsAreWaitedFor has GitHub say in all ways that it wants a pause,
// or nonsense, to the question whose token it is and to another.
func TestOddLimitsAreWaitedFor(t *testing.T) {
	const (
		abuse     = "You have triggered an abuse detection mechanism. Please wait a few minutes before you try again."
		secondary = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
		spent     = "API rate limit exceeded for user ID 1."
	)
	header := func(pairs ...string) map[string]string {
		h := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = pairs[i+1]
		}
		return h
	}
	in := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	faults := func() map[string]emulator.Fault {
		return map[string]emulator.Fault{
			"abuse detection":                emulator.Limited(http.StatusForbidden, nil, abuse),
			"abuse detection, status 200":    emulator.Limited(http.StatusOK, nil, abuse),
			"secondary, status 400":          emulator.Limited(http.StatusBadRequest, nil, secondary),
			"secondary, among the errors":    emulator.LimitedError("", secondary),
			"secondary, a page for people":   emulator.Limited(http.StatusTooManyRequests, nil, "<html>Whoa there! "+secondary+"</html>"),
			"too many requests, no words":    emulator.Limited(http.StatusTooManyRequests, nil, ""),
			"an unclear 403":                 emulator.Limited(http.StatusForbidden, nil, "Sorry."),
			"Retry-After overflows":          emulator.Limited(http.StatusForbidden, header("Retry-After", "10000000000"), secondary),
			"Retry-After has 30 digits":      emulator.Limited(http.StatusForbidden, header("Retry-After", strings.Repeat("9", 30)), secondary),
			"Retry-After is negative":        emulator.Limited(http.StatusForbidden, header("Retry-After", "-5"), secondary),
			"Retry-After is zero":            emulator.Limited(http.StatusForbidden, header("Retry-After", "0"), secondary),
			"Retry-After is no number":       emulator.Limited(http.StatusForbidden, header("Retry-After", "soon"), secondary),
			"Retry-After is a date":          emulator.Limited(http.StatusForbidden, header("Retry-After", time.Now().Add(2*time.Minute).UTC().Format(http.TimeFormat)), secondary),
			"Retry-After is a past date":     emulator.Limited(http.StatusForbidden, header("Retry-After", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)), secondary),
			"Retry-After is a date of 9999":  emulator.Limited(http.StatusForbidden, header("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), secondary),
			"Retry-After in milliseconds":    emulator.Limited(http.StatusForbidden, header("Retry-After", "60000"), secondary),
			"the reset is past":              emulator.Limited(http.StatusForbidden, header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", in(-time.Hour)), spent),
			"the reset is in milliseconds":   emulator.Limited(http.StatusForbidden, header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", in(10*time.Minute)+"000"), spent),
			"the reset overflows":            emulator.Limited(http.StatusForbidden, header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "9223372036854775807"), spent),
			"the reset is no number":         emulator.Limited(http.StatusForbidden, header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "soon"), spent),
			"the date is of the year 1":      emulator.Limited(http.StatusForbidden, header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", in(10*time.Minute), "Date", "Mon, 01 Jan 0001 00:00:00 GMT"), spent),
			"unavailable with a Retry-After": emulator.Limited(http.StatusServiceUnavailable, header("Retry-After", "120"), "Service unavailable"),
		}
	}
	for _, name := range slices.Sorted(maps.Keys(faults())) {
		bubbled(t, name, func(t *testing.T, w *world) {
			w.env["OWNERS"] = "acme"
			s := w.start()
			fault := faults()[name] // its times are of the bubble
			w.github.Fail(fault, nil, fault)
			w.tick(s, "sweep")
			began := time.Now()
			w.finish(s)
			if l := w.line("Acme"); l.Status != event.StatusComplete || l.Seen != 7 {
				t.Errorf("ledger line %s", show(l))
			}
			w.spaced()
			if took := time.Since(began); took > 6*time.Hour {
				t.Errorf("the sweep took %s", took)
			}
			if !strings.Contains(w.log.String(), "until=") {
				t.Errorf("no pause in the log:\n%s", w.log)
			}
		})
	}
}

// TestOddHeadersOfAGoodAnswerDoNotSpoilTheBudget has headers tell nonsense of a
// question that is answered.
func TestOddHeadersOfAGoodAnswerDoNotSpoilTheBudget(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Fail(
			emulator.Headers(map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9223372036854775807"}), nil,
			emulator.Headers(map[string]string{"X-RateLimit-Remaining": "-7", "X-RateLimit-Reset": strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)}),
			emulator.Headers(map[string]string{"Date": "Mon, 01 Jan 0001 00:00:00 GMT"}),
		)
		w.tick(s, "sweep")
		began := time.Now()
		w.finish(s)
		for _, owner := range []string{"Acme", "jane"} {
			if l := w.line(owner); l.Status != event.StatusComplete {
				t.Errorf("ledger line %s", show(l))
			}
		}
		if took := time.Since(began); took > 3*time.Hour {
			t.Errorf("the sweep took %s", took)
		}
	})
}

func TestOneRefusalDoesNotEndASweep(t *testing.T) {
	for name, at := range map[string]int{"whose token it is": 0, "the owner": 1, "a page": 2, "the commits": 3} {
		bubbled(t, name, func(t *testing.T, w *world) {
			s := w.start()
			w.github.Fail(append(make([]emulator.Fault, at), emulator.Unauthorized)...)
			w.tick(s, "sweep")
			began := time.Now()
			w.finish(s)
			for _, owner := range []string{"Acme", "jane"} {
				if l := w.line(owner); l.Status != event.StatusComplete {
					t.Errorf("ledger line %s", show(l))
				}
			}
			w.spaced()
			if took := time.Since(began); took > 6*time.Minute {
				t.Errorf("the sweep took %s", took)
			}
		})
	}
}

func TestATokenThatIsRefusedForTenMinutesFailsTheOwner(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Revoke(tokenA)
		began := time.Now()
		w.tick(s, "sweep")
		w.finish(s)
		for _, owner := range []string{"acme", "jane"} {
			l := w.line(owner)
			if l.Status != event.StatusFailed || l.Reason == nil || !strings.Contains(*l.Reason, "bad credentials") {
				t.Errorf("ledger line %s", show(l))
			}
			if after := l.FinishedAt.Sub(began); after < 10*time.Minute || after > 40*time.Minute {
				t.Errorf("%s failed after %s", owner, after)
			}
		}
	})
}

func TestAnOwnerThatForbidsOneUserIsReadAsAnother(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["GITHUB_TOKEN"] = tokenA + "," + tokenB
		w.github.Change(func(g *emulator.World) {
			g.Owner("acme").Denies, g.Owner("acme").Admits = emulator.SAML, []string{"user-2"}
		})
		s := w.start()
		w.tick(s, "sweep")
		w.finish(s)
		for _, owner := range []string{"Acme", "jane"} {
			if l := w.line(owner); l.Status != event.StatusComplete {
				t.Errorf("ledger line %s", show(l))
			}
		}
		asked := map[string]int{}
		for _, q := range w.github.Requests() {
			if q.Login == "acme" || q.Login == "Acme" {
				asked[q.User]++
			}
		}
		if asked["user-1"] != 1 {
			t.Errorf("of Acme was asked %v, want once as the user whom it forbids", asked)
		}
		// What the owner shows to nobody by id is not gone.
		time.Sleep(time.Hour)
		w.tick(s, "sweep")
		w.finish(s)
		if l := w.ledger()["Acme"][1]; l.Status != event.StatusComplete || *l.Gone != 0 {
			t.Errorf("ledger line %s", show(l))
		}
	})
}

func TestAListThatComesRoundAgainEndsWithAReason(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		for i := range 200 { // the first pages are as they should be
			if i < 8 {
				w.github.Fail(nil)
				continue
			}
			w.github.Fail(emulator.Round)
		}
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		w.finish(s)
		l := w.line("Acme")
		if l.Status != event.StatusIncomplete || l.Reason == nil || !strings.Contains(*l.Reason, "leads back") {
			t.Errorf("ledger line %s", show(l))
		}
		if n := len(w.github.Requests()); n > 40 {
			t.Errorf("GitHub was asked %d times", n)
		}
	})
}

func TestAListThatComesRoundOnceIsReadToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.start()
		w.github.Fail(nil, nil, nil, nil, nil, nil, nil, emulator.Round)
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		w.finish(s)
		if l := w.line("Acme"); l.Status != event.StatusComplete || l.Seen != 7 || l.Reason != nil {
			t.Errorf("ledger line %s", show(l))
		}
	})
}

// TestAnOddFieldIsNullAndTheRestKept has one field of every repository be what
// it cannot be.
func TestAnOddFieldIsNullAndTheRestKept(t *testing.T) {
	for name, odd := range map[string]struct {
		field string // of the observation
		value any
	}{
		"pushedAt":        {"pushed_at", "0001-01-01T00:00:00Z"},
		"createdAt":       {"created_at", "0000-00-00T00:00:00Z"},
		"updatedAt":       {"updated_at", "2999-01-01T00:00:00Z"},
		"latestRelease":   {"latest_release_at", map[string]any{"tagName": "v1", "publishedAt": "1969-12-31T23:59:59Z"}},
		"openIssues":      {"open_issues", map[string]any{"totalCount": -1}},
		"closedIssues":    {"closed_issues", map[string]any{"totalCount": 1e30}},
		"watchers":        {"watchers", map[string]any{"totalCount": "many"}},
		"forkCount":       {"forks", 1.5},
		"diskUsage":       {"disk_kb", "1"},
		"description":     {"description", strings.Repeat("x", 20_000)},
		"licenseInfo":     {"license", map[string]any{"spdxId": strings.Repeat("x", 20_000)}},
		"languages":       {"languages", map[string]any{"edges": []any{map[string]any{"size": -1, "node": map[string]any{"name": "Go"}}}}},
		"discussions":     {"discussions", map[string]any{"totalCount": int64(1) << 62}},
		"primaryLanguage": {"primary_language", map[string]any{"name": strings.Repeat("x", 20_000)}},
	} {
		bubbled(t, name, func(t *testing.T, w *world) {
			w.env["OWNERS"], w.env["PAGE_SIZE"] = "jane", "10"
			s := w.start()
			w.github.Fail(nil, nil, emulator.Odd(map[string]any{name: odd.value}))
			w.tick(s, "sweep")
			w.finish(s)
			l := w.line("jane")
			if l.Status != event.StatusComplete || l.Seen != 3 || l.Unanswered != 0 {
				t.Errorf("ledger line %s", show(l))
			}
			if l.Reason == nil || !strings.Contains(*l.Reason, odd.field+" 3") {
				t.Errorf("the ledger does not count %s: %s", odd.field, show(l))
			}
			all := w.observed()
			if len(all) != 3 {
				t.Fatalf("%d repositories are observed", len(all))
			}
			o := all[2000][0]
			if o.Stars == 0 || o.NodeID == "" {
				t.Errorf("observed %+v", o)
			}
			set := map[string]bool{
				"pushed_at": o.PushedAt != nil, "created_at": o.CreatedAt != nil, "updated_at": o.UpdatedAt != nil, "latest_release_at": o.LatestReleaseAt != nil,
				"open_issues": o.OpenIssues != nil, "closed_issues": o.ClosedIssues != nil, "watchers": o.Watchers != nil, "forks": o.Forks != nil,
				"disk_kb": o.DiskKB != nil, "description": o.Description != nil, "license": o.License != nil, "languages": len(o.Languages) > 0,
				"discussions": o.Discussions != nil, "primary_language": o.PrimaryLanguage != nil,
			}
			for _, field := range slices.Sorted(maps.Keys(set)) {
				if set[field] == (field == odd.field) {
					t.Errorf("%s is observed: %v", field, set[field])
				}
			}
		})
	}
}

func TestARepositoryWithoutUsableStarsIsNamedInTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["OWNERS"] = "jane"
		s := w.start()
		for range 60 {
			w.github.Fail(emulator.Odd(map[string]any{"stargazerCount": -1}))
		}
		w.tick(s, "sweep")
		w.finish(s)
		l := w.line("jane")
		if l.Status != event.StatusIncomplete || l.Seen != 0 || l.Unanswered != 3 || l.Reason == nil || !strings.Contains(*l.Reason, "stars 3") {
			t.Errorf("ledger line %s", show(l))
		}
	})
}

func TestWithoutATokenEventsAreRefusedWithTheReason(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["GITHUB_TOKEN"] = ""
		s := w.start()
		for name, err := range map[string]error{"sweep": s.RequestAll(t.Context(), time.Now()), "request": s.Fetch(t.Context(), w.requested("acme", w.sweepID()))} {
			if err == nil || errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "GITHUB_TOKEN") {
				t.Errorf("%s: %v, want to be asked again, and why", name, err)
			}
		}
		if err := s.RequestOpen(t.Context()); err != nil {
			t.Errorf("a wake with nothing to do: %v", err)
		}
		if s.github.Err() == nil {
			t.Error("the function does not say what it lacks")
		}
		if _, err := OpenForecaster(t.Context(), w.env); err == nil {
			t.Error("a forecast without a token")
		}
	})
}

func TestATickTriesAFailedOwnerAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour + time.Minute))) // the rest is of one hour
		s := w.start()
		hour := w.sweepID()
		w.github.Change(func(g *emulator.World) { g.Owner("acme").Denies = emulator.SAML })
		w.tick(s, "sweep")
		w.finish(s)
		if failed, err := s.owners.Failed(t.Context()); err != nil || len(failed) != 1 || failed[0].SweepID != hour || !strings.Contains(failed[0].Reason, "SAML") {
			t.Errorf("failed: %+v, %v", failed, err)
		}
		w.github.Change(func(g *emulator.World) { g.Owner("acme").Denies = nil })
		for range 2 { // what was tried again and ended well is not tried a third time
			time.Sleep(time.Minute)
			w.tick(s, "sweep")
			w.finish(s)
		}
		lines := w.ledger()
		if l := lines["acme"]; len(l) != 1 || l[0].Status != event.StatusFailed || l[0].SweepID != hour {
			t.Errorf("ledger lines %+v", l)
		}
		if l := lines["Acme"]; len(l) != 1 || l[0].Status != event.StatusComplete || l[0].SweepID <= hour {
			t.Errorf("ledger lines %+v", l)
		}
		if l := lines["jane"]; len(l) != 1 {
			t.Errorf("%d ledger lines of an owner that did not fail", len(l))
		}
		if failed, err := s.owners.Failed(t.Context()); err != nil || len(failed) != 0 {
			t.Errorf("failed: %+v, %v", failed, err)
		}
	})
}
