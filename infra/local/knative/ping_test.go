package knative

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"
)

func pingerOf(t *testing.T, schedule string, post poster) *pinger {
	t.Helper()
	s, err := cron.ParseStandard(schedule)
	if err != nil {
		t.Fatal(err)
	}
	return &pinger{
		namespace: "ns", post: post,
		tick: Tick{Name: "hourly", Function: "fn", Schedule: s, ContentType: "application/json", Data: []byte(`{"do":"sweep"}`),
			Extensions: map[string]string{"extra": "x"}, do: doSweep},
	}
}

func TestPingSourceFiresAtTheTimesOfItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []string
		p := pingerOf(t, "CRON_TZ=UTC 0 * * * *", func(_ context.Context, h http.Header, body []byte) (int, error) {
			if string(body) != `{"do":"sweep"}` {
				t.Errorf("body %s", body)
			}
			times = append(times, h.Get("Ce-Time"))
			return 204, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		go p.run(ctx)
		time.Sleep(3*time.Hour + time.Minute)
		cancel()
		synctest.Wait()
		want := []string{"2000-01-01T01:00:00Z", "2000-01-01T02:00:00Z", "2000-01-01T03:00:00Z"}
		if len(times) != 3 || times[0] != want[0] || times[1] != want[1] || times[2] != want[2] {
			t.Errorf("fired at %v, want %v", times, want)
		}
	})
}

func TestPingSourceSendsTheRealEvent(t *testing.T) {
	p := pingerOf(t, "0 * * * *", func(_ context.Context, h http.Header, _ []byte) (int, error) {
		for name, want := range map[string]string{
			"Ce-Specversion": "1.0", "Ce-Type": "dev.knative.sources.ping", "Ce-Source": "/apis/v1/namespaces/ns/pingsources/hourly",
			"Ce-Time": "2026-11-25T09:00:00Z", "Content-Type": "application/json", "Ce-Extra": "x",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if h.Get("Ce-Id") == "" {
			t.Error("no id")
		}
		return 204, nil
	})
	if err := p.fire(t.Context(), time.Date(2026, 11, 25, 10, 0, 0, 0, time.FixedZone("", 3600))); err != nil {
		t.Error(err)
	}
}

func TestPingSourceTriesFiveMoreTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		p := pingerOf(t, "0 * * * *", func(context.Context, http.Header, []byte) (int, error) {
			attempts++
			return 503, nil
		})
		began := time.Now()
		if err := p.fire(t.Context(), began); err == nil {
			t.Error("a lost tick is no error")
		}
		if took := time.Since(began); attempts != 6 || took != 3100*time.Millisecond {
			t.Errorf("%d attempts in %s, want 6 in 3.1s", attempts, took)
		}
	})
}
