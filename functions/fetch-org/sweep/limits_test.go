package sweep

import (
	"strings"
	"testing"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

func TestTokensOfOneUserShareItsBudgets(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["GITHUB_TOKEN"] = tokenA + "," + tokenB
		w.github.Grant(tokenB, "user-1")
		s := w.start()
		w.github.SetRemaining(tokenA, reservePoints+5, time.Now().Add(40*time.Minute).Truncate(time.Second))
		if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if cp := w.checkpoint(s, "acme", w.sweepID()); cp.closed() || cp.NotBefore.Before(time.Now().Add(39*time.Minute)) {
			t.Errorf("checkpoint %+v: the second token was taken for another user's", cp)
		}
		if n := w.github.Breaches(); n != 0 {
			t.Errorf("GitHub was asked %d times beyond its limit", n)
		}
	})
}

func TestReplicasShareTheBudgets(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		reset := time.Now().Add(40 * time.Minute).Truncate(time.Second)
		w.github.SetRemaining(tokenA, reservePoints+3, reset)
		if err := w.start().Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		asked := len(w.github.Requests())
		if err := w.start().Fetch(t.Context(), w.requested("jane", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		for _, q := range w.github.Requests()[asked:] {
			if q.Operation != "viewer" {
				t.Errorf("another replica asked for %s though the user has no points left", q.Operation)
			}
		}
	})
}

func TestResetsAreReadByGitHubsOwnClock(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		bubbled(t, skew.String(), func(t *testing.T, w *world) {
			w.github.SetSkew(skew)
			s := w.start()
			reset := time.Now().Add(40 * time.Minute).Truncate(time.Second)
			w.github.SetRemaining(tokenA, 0, reset)
			if err := s.Fetch(t.Context(), w.requested("acme", w.sweepID())); err != nil {
				t.Fatal(err)
			}
			if cp := w.checkpoint(s, "acme", w.sweepID()); cp.NotBefore.Before(reset) || cp.NotBefore.After(reset.Add(5*time.Second)) {
				t.Errorf("with GitHub's clock %s ahead: not before %s, want %s", skew, cp.NotBefore, reset)
			}
		})
	}
}

func TestTheTokenIsNowhereToBeFound(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["GITHUB_TOKEN"] = tokenA + "," + tokenB + ",ghp_revokedSecret"
		w.github.Forbid(tokenB, "Sorry. Your account was suspended.")
		s := w.start()
		w.github.SetRemaining(tokenA, reservePoints+8, time.Now().Add(time.Hour))
		w.tick(s, "sweep")
		w.deliver(s)
		everything := w.log.String() + w.redis.Dump()
		for _, topic := range []string{"github.fetch_requests", "github.base_repos", "github.sweeps"} {
			for _, r := range w.records(topic) {
				everything += string(r.Key) + string(r.Value)
				for _, h := range r.Headers {
					everything += h.Key + string(h.Value)
				}
			}
		}
		if !strings.Contains(everything, "GitHub refuses a token") || !strings.Contains(everything, "Acme/repo-1") {
			t.Error("the test does not see what happened")
		}
		for _, token := range []string{tokenA, tokenB, "ghp_revokedSecret"} {
			if strings.Contains(everything, token) {
				t.Errorf("%s is to be found", token)
			}
		}
	})
}

// A sweep stays within 0.05 points a repository, and no query of it costs more
// than 3.
func TestPointsOfASweep(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.env["PAGE_SIZE"] = "25"
		plan := emulator.Plan{Seed: 1, Start: time.Now(), Owners: []emulator.OwnerPlan{{Login: "acme", Repos: *figureRepos}}}
		w.serve(emulator.Generate(plan), tokenA)
		w.env["OWNERS"] = "acme"
		s := w.start()
		w.sweepTwice(s, func(*emulator.World) {})
		for _, q := range w.github.Requests() {
			if q.Cost > 3 {
				t.Errorf("a query of %s cost %d points", q.Operation, q.Cost)
			}
		}
		for _, l := range w.ledger()["acme"] {
			if each := float64(l.Points) / float64(l.Seen); l.Status != event.StatusComplete || l.Seen != int64(*figureRepos) || each > 0.05 {
				t.Errorf("%s: %d repositories for %d points, %.3f each", l.Status, l.Seen, l.Points, each)
			}
		}
	})
}
