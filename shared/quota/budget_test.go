package quota

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	reservePoints = 50
	maxInFlight   = 20
	timeout       = 11 * time.Second
)

// bubble runs a test of budgets in virtual time.
func bubble(t *testing.T, f func(t *testing.T, b *Budgets)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := miniredis.NewMiniRedis()
		rdb := redis.NewClient(&redis.Options{
			Dialer: func(context.Context, string, string) (net.Conn, error) { return server.Dial() },
			// Else a mutex is held while a connection is made, which stops the bubble's time.
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		t.Cleanup(func() {
			_ = rdb.Close()
			server.Close()
			time.Sleep(5 * time.Second) // go-redis looks each second whether it is closed
		})
		f(t, New(rdb, "", Limits{Reserve: reservePoints, Queries: 1_800, Work: 58_500 * time.Millisecond, Rate: .975, InFlight: maxInFlight, Timeout: timeout}))
	})
}

func (b *Budgets) mustReserve(t *testing.T, user string, points int64, work time.Duration) (Permit, time.Time) {
	t.Helper()
	p, until, err := b.Reserve(t.Context(), user, points, work, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return p, until
}

func (b *Budgets) mustCharge(t *testing.T, p Permit, c Cost) time.Time {
	t.Helper()
	until, err := b.Charge(t.Context(), p, c)
	if err != nil {
		t.Fatal(err)
	}
	return until
}

func TestPointsAreKeptInReserve(t *testing.T) {
	bubble(t, func(t *testing.T, b *Budgets) {
		reset := time.Now().Add(20 * time.Minute)
		p, _ := b.mustReserve(t, "u", 1, 0)
		b.mustCharge(t, p, Cost{Known: true, Remaining: reservePoints + 2, Reset: reset, Clean: true})
		for range 2 { // in flight together, neither settled
			if _, until := b.mustReserve(t, "u", 1, 0); !until.IsZero() {
				t.Fatalf("refused until %s though there are points", until)
			}
		}
		if _, until := b.mustReserve(t, "u", 1, 0); !until.Equal(reset) {
			t.Errorf("a question beyond the points may be asked at %s, want %s", until, reset)
		}
		if _, until := b.mustReserve(t, "v", 1, 0); !until.IsZero() {
			t.Error("another user pays for it")
		}
		time.Sleep(time.Until(reset))
		if _, until := b.mustReserve(t, "u", 1, 0); !until.IsZero() {
			t.Errorf("refused until %s though the points are renewed", until)
		}
	})
}

func TestOfAnswersOutOfOrderTheLowestCounts(t *testing.T) {
	bubble(t, func(t *testing.T, b *Budgets) {
		reset := time.Now().Add(20 * time.Minute)
		for _, remaining := range []int64{500, reservePoints, 499} {
			p, _ := b.mustReserve(t, "u", 1, 0)
			b.mustCharge(t, p, Cost{Known: true, Remaining: remaining, Reset: reset, Clean: true})
		}
		if _, until := b.mustReserve(t, "u", 1, 0); !until.Equal(reset) {
			t.Errorf("allowed until %s", until)
		}
	})
}

// Though questions take more or less than expected, in no minute is GitHub given more than its 60 s
// of work nor more than its queries.
func TestNoMinuteHasTooMuchWork(t *testing.T) {
	bubble(t, func(t *testing.T, b *Budgets) {
		type stint struct {
			ended time.Time
			took  time.Duration
		}
		var done []stint
		asked, refused := 0, 0
		began := time.Now()
		for i := 0; time.Since(began) < 10*time.Minute; i++ {
			took := []time.Duration{4 * time.Second, 5200 * time.Millisecond, 2800 * time.Millisecond}[i%3]
			p, until := b.mustReserve(t, "u", 1, 4*time.Second)
			if !until.IsZero() {
				if !until.After(time.Now()) {
					t.Fatalf("at %s to come again at %s", time.Now(), until)
				}
				time.Sleep(time.Until(until))
				refused++
				continue
			}
			asked++
			time.Sleep(took)
			b.mustCharge(t, p, Cost{Work: took, Clean: true})
			done = append(done, stint{time.Now(), took})
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
	})
}

func TestALimitWithoutATimeIsWaitedForLongerEachTime(t *testing.T) {
	bubble(t, func(t *testing.T, b *Budgets) {
		for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			p, refused := b.mustReserve(t, "u", 1, 0)
			if !refused.IsZero() {
				t.Fatalf("refused until %s at %s", refused, time.Now())
			}
			until := b.mustCharge(t, p, Cost{Penalty: true})
			if got := time.Until(until); got != want {
				t.Errorf("rest of %s, want %s", got, want)
			}
			if _, refused := b.mustReserve(t, "u", 1, 0); !refused.Equal(until) {
				t.Errorf("may be asked at %s, want %s", refused, until)
			}
			time.Sleep(time.Until(until))
		}
		p, _ := b.mustReserve(t, "u", 1, 0)
		b.mustCharge(t, p, Cost{Clean: true})
		p, _ = b.mustReserve(t, "u", 1, 0)
		if until := b.mustCharge(t, p, Cost{Penalty: true}); time.Until(until) != time.Minute {
			t.Errorf("after a good answer a rest of %s", time.Until(until))
		}
	})
}

func TestWhatACrashLeftInFlightIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, b *Budgets) {
		for range maxInFlight {
			if _, until := b.mustReserve(t, "u", 1, 0); !until.IsZero() {
				t.Fatal("refused")
			}
		}
		if _, until := b.mustReserve(t, "u", 1, 0); until.IsZero() {
			t.Fatal("more in flight than may be")
		}
		time.Sleep(timeout)
		if _, until := b.mustReserve(t, "u", 1, 0); !until.IsZero() {
			t.Errorf("refused until %s though all have timed out", until)
		}
	})
}
