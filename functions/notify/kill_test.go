package notify

import (
	"bytes"
	"context"
	"flag"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
	"github.com/m7pulse/m7pulse/shared/signal"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "of what is drawn")
	chaosKills = flag.Int("chaos.kills", 4, "how many processes are killed")
)

// TestMain is the function's process where a test has started one.
func TestMain(m *testing.M) { servetest.Main(m, New) }

// A process is killed with SIGKILL while it waits for the answer to a message, which the
// target has accepted or not. The next one sends what is left; what it sends again has
// the same id.
func TestKilledProcessesLoseAndDoubleNoMessage(t *testing.T) {
	t.Parallel()
	in := install(t, toAll)
	rng := rand.New(rand.NewPCG(*chaosSeed, 1))
	const each = 8
	all, log := 0, &bytes.Buffer{}
	for round := range *chaosKills {
		p := servetest.Start(t, in.env, log)
		for range each {
			all++
			in.raise(raised(signal.Release, int64(all), time.Now()))
		}
		until := len(in.receiver.accepted()) + 1 + rng.IntN(each-2)
		in.receiver.refuse(func(string) int {
			if len(in.receiver.order) < until {
				return 0
			}
			p.Kill()
			if round%2 == 0 {
				return http.StatusServiceUnavailable
			}
			return 0
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := p.Post(ctx, wake()); err == nil {
			t.Error("the process was not killed")
		}
		cancel()
		in.receiver.refuse(nil)
		in.redis.FastForward(leaseTTL + time.Second) // the dead one's lease runs out
	}
	p := servetest.Start(t, in.env, log)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil && p.Post(ctx, wake()) != nil {
		time.Sleep(100 * time.Millisecond)
	}
	r := in.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	signals := map[string]bool{}
	for id, s := range r.last {
		if signals[s] {
			t.Errorf("signal %s was sent under another id too, %s", s, id)
		}
		signals[s] = true
	}
	if len(signals) != all || len(r.order) > all+*chaosKills {
		t.Errorf("%d of %d signals were sent, in %d messages\n%s", len(signals), all, len(r.order), log)
	}
	if n := len(in.records(event.DeadLetterTopic(event.TopicSignals))); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	t.Logf("%d kills, %d signals, %d messages", *chaosKills, all, len(r.order))
}
