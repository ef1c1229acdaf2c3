package fetchorg

import (
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// newBudgets are budgets whose clock the test moves.
func newBudgets(t *testing.T) (*budgets, *time.Time) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	return &budgets{rdb, clock{now: func() time.Time { return now }, scale: 1}}, &now
}

func (b *budgets) mustTake(t *testing.T, user string, points int64, work time.Duration) (permit, time.Time) {
	t.Helper()
	p, until, err := b.reserve(t.Context(), user, points, work, burst)
	if err != nil {
		t.Fatal(err)
	}
	return p, until
}

func (b *budgets) mustSettle(t *testing.T, p permit, c cost) time.Time {
	t.Helper()
	until, err := b.charge(t.Context(), p, c)
	if err != nil {
		t.Fatal(err)
	}
	return until
}

func TestPointsAreKeptInReserve(t *testing.T) {
	b, now := newBudgets(t)
	reset := now.Add(20 * time.Minute)
	p, _ := b.mustTake(t, "u", 1, 0)
	b.mustSettle(t, p, cost{known: true, remaining: reservePoints + 2, reset: reset, clean: true})
	for range 2 { // in flight together, neither settled
		if _, until := b.mustTake(t, "u", 1, 0); !until.IsZero() {
			t.Fatalf("refused until %s though there are points", until)
		}
	}
	if _, until := b.mustTake(t, "u", 1, 0); !until.Equal(reset) {
		t.Errorf("a question beyond the points may be asked at %s, want %s", until, reset)
	}
	if _, until := b.mustTake(t, "v", 1, 0); !until.IsZero() {
		t.Error("another user pays for it")
	}
	*now = reset
	if _, until := b.mustTake(t, "u", 1, 0); !until.IsZero() {
		t.Errorf("refused until %s though the points are renewed", until)
	}
}

func TestOfAnswersOutOfOrderTheLowestCounts(t *testing.T) {
	b, now := newBudgets(t)
	reset := now.Add(20 * time.Minute)
	for _, remaining := range []int64{500, reservePoints, 499} {
		p, _ := b.mustTake(t, "u", 1, 0)
		b.mustSettle(t, p, cost{known: true, remaining: remaining, reset: reset, clean: true})
	}
	if _, until := b.mustTake(t, "u", 1, 0); !until.Equal(reset) {
		t.Errorf("allowed until %s", until)
	}
}

// Though questions take more or less than expected, in no minute is GitHub given more than its 60 s
// of work nor more than its queries.
func TestNoMinuteHasTooMuchWork(t *testing.T) {
	b, now := newBudgets(t)
	type stint struct {
		ended time.Time
		took  time.Duration
	}
	var done []stint
	asked, refused := 0, 0
	began := *now
	for i := 0; now.Sub(began) < 10*time.Minute; i++ {
		took := []time.Duration{4 * time.Second, 5200 * time.Millisecond, 2800 * time.Millisecond}[i%3]
		p, until := b.mustTake(t, "u", 1, 4*time.Second)
		if !until.IsZero() {
			if !until.After(*now) {
				t.Fatalf("at %s to come again at %s", now, until)
			}
			*now = until
			refused++
			continue
		}
		asked++
		*now = now.Add(took)
		b.mustSettle(t, p, cost{work: took, clean: true})
		done = append(done, stint{*now, took})
	}
	var most, total time.Duration
	for i := range done {
		var sum time.Duration
		for _, d := range done[:i+1] {
			if done[i].ended.Sub(d.ended) < time.Minute {
				sum += d.took
			}
		}
		most = max(most, sum)
		total += done[i].took
	}
	if most > time.Minute {
		t.Errorf("%s of work in a minute", most)
	}
	if total < 9*time.Minute {
		t.Errorf("only %s of work in ten minutes: %d questions, %d refusals", total, asked, refused)
	}
}

func TestALimitWithoutATimeIsWaitedForLongerEachTime(t *testing.T) {
	b, now := newBudgets(t)
	for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		p, refused := b.mustTake(t, "u", 1, 0)
		if !refused.IsZero() {
			t.Fatalf("refused until %s at %s", refused, now)
		}
		until := b.mustSettle(t, p, cost{penalty: true})
		if got := until.Sub(*now); got != want {
			t.Errorf("rest of %s, want %s", got, want)
		}
		if _, refused := b.mustTake(t, "u", 1, 0); !refused.Equal(until) {
			t.Errorf("may be asked at %s, want %s", refused, until)
		}
		*now = until
	}
	p, _ := b.mustTake(t, "u", 1, 0)
	b.mustSettle(t, p, cost{clean: true})
	p, _ = b.mustTake(t, "u", 1, 0)
	if until := b.mustSettle(t, p, cost{penalty: true}); until.Sub(*now) != time.Minute {
		t.Errorf("after a good answer a rest of %s", until.Sub(*now))
	}
}

func TestWhatACrashLeftInFlightIsForgotten(t *testing.T) {
	b, now := newBudgets(t)
	for range maxInFlight {
		if _, until := b.mustTake(t, "u", 1, 0); !until.IsZero() {
			t.Fatal("refused")
		}
	}
	if _, until := b.mustTake(t, "u", 1, 0); until.IsZero() {
		t.Fatal("more in flight than may be")
	}
	*now = now.Add(pageTimeout)
	if _, until := b.mustTake(t, "u", 1, 0); !until.IsZero() {
		t.Errorf("refused until %s though all have timed out", until)
	}
}

func TestTokensOfOneUserShareItsBudgets(t *testing.T) {
	w := newWorld(t)
	w.env["GITHUB_TOKEN"] = tokenA + "," + tokenB
	w.github.Grant(tokenB, "user-1")
	s := w.start()
	w.github.SetRemaining(tokenA, reservePoints+5, w.now().Add(40*time.Minute).Truncate(time.Second))
	if err := s.Receive(t.Context(), w.requested("acme", w.sweepID())); err != nil {
		t.Fatal(err)
	}
	if cp := w.checkpoint(s, "acme", w.sweepID()); cp.closed() || cp.NotBefore.Before(w.now().Add(39*time.Minute)) {
		t.Errorf("checkpoint %+v: the second token was taken for another user's", cp)
	}
	if n := w.github.Breaches(); n != 0 {
		t.Errorf("GitHub was asked %d times beyond its limit", n)
	}
}

func TestReplicasShareTheBudgets(t *testing.T) {
	w := newWorld(t)
	reset := w.now().Add(40 * time.Minute).Truncate(time.Second)
	w.github.SetRemaining(tokenA, reservePoints+3, reset)
	if err := w.start().Receive(t.Context(), w.requested("acme", w.sweepID())); err != nil {
		t.Fatal(err)
	}
	asked := len(w.github.Requests())
	if err := w.start().Receive(t.Context(), w.requested("jane", w.sweepID())); err != nil {
		t.Fatal(err)
	}
	for _, q := range w.github.Requests()[asked:] {
		if q.Operation != "viewer" {
			t.Errorf("another replica asked for %s though the user has no points left", q.Operation)
		}
	}
}

func TestResetsAreReadByGitHubsOwnClock(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		w := newWorld(t)
		w.github.SetSkew(skew)
		s := w.start()
		reset := w.now().Add(40 * time.Minute).Truncate(time.Second)
		w.github.SetRemaining(tokenA, 0, reset)
		if err := s.Receive(t.Context(), w.requested("acme", w.sweepID())); err != nil {
			t.Fatal(err)
		}
		if cp := w.checkpoint(s, "acme", w.sweepID()); cp.NotBefore.Before(reset) || cp.NotBefore.After(reset.Add(5*time.Second)) {
			t.Errorf("with GitHub's clock %s ahead: not before %s, want %s", skew, cp.NotBefore, reset)
		}
	}
}

func TestTheTokenIsNowhereToBeFound(t *testing.T) {
	w := newWorld(t)
	w.env["GITHUB_TOKEN"] = tokenA + "," + tokenB + ",ghp_revokedSecret"
	w.github.Forbid(tokenB, "Sorry. Your account was suspended.")
	s := w.start()
	w.github.SetRemaining(tokenA, reservePoints+8, w.now().Add(time.Hour))
	w.tick(s, "sweep")
	w.deliver(s)
	everything := w.log.String() + w.redis.Dump() + s.Status().Failing
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
}
