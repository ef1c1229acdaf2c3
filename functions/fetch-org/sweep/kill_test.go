package sweep

import (
	"context"
	"flag"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

var chaosKills = flag.Int("chaos.kills", 2, "how many processes are killed")

func (w *world) process() *servetest.Process {
	w.t.Helper()
	env := maps.Clone(w.env)
	env["GOMEMLIMIT"] = "44MiB" // as in func.yaml
	return servetest.Start(w.t, env, w.log)
}

// TestKilledProcessesLoseNothing kills real processes with SIGKILL in the middle
// of sweeps, one after the other, and has the next one end what they began.
func TestKilledProcessesLoseNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(*chaosSeed, 1))
	w := newWorld(t)
	origin := time.Now()
	// GitHub answers sixty times as fast as it does, and lives as much faster.
	w.serve(emulator.Generate(emulator.Plan{Seed: *chaosSeed, Start: origin, Life: emulator.Life{Created: 1800, Deleted: 1200, Renamed: 1800, Transferred: 600, Pushed: 6000},
		Owners: []emulator.OwnerPlan{{Login: "owner-0", Repos: 150}, {Login: "owner-1", User: true, Repos: 10}}}), tokenA, tokenB)
	w.github.SetPace(60)
	w.github.SetTiming(emulator.Measured())
	w.env["OWNERS"], w.env["GITHUB_TOKEN"], w.env["PAGE_SIZE"] = "owner-0 owner-1", tokenA+","+tokenB, "10"
	request := func(login, sweep string) cloudevents.Event {
		return servetest.Event(t, event.TypeFetchRequested, w.requested(login, sweep))
	}
	p, killed := w.process(), 0
	for i := range *chaosKills {
		sweep := origin.Add(time.Duration(i-12*60) * time.Minute).UTC().Truncate(time.Minute).Format(time.RFC3339)
		dying := p
		for _, login := range []string{"owner-0", "owner-1"} {
			go func() { _ = dying.Post(context.Background(), request(login, sweep)) }()
		}
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		dying.Kill()
		if len(w.linesOf(sweep)) < 2 {
			killed++
		}
		w.redis.FastForward(leaseTTL + time.Second) // the dead one's lease runs out
		p = w.process()
		deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
		for len(w.linesOf(sweep)) < 2 && deadline.Err() == nil {
			// The kill may have come before the request was known; its source asks again.
			for _, login := range []string{"owner-0", "owner-1"} {
				_ = p.Post(deadline, request(login, sweep))
			}
		}
		cancel()
		if lines := w.linesOf(sweep); len(lines) != 2 {
			t.Fatalf("sweep %s has %d ledger lines after a minute:\n%s", sweep, len(lines), w.log)
		}
	}
	if *chaosKills > 0 && killed == 0 {
		t.Error("no kill came during a sweep")
	}
	t.Logf("%d of %d kills came during a sweep; %d questions", killed, *chaosKills, len(w.github.Requests()))
	judge(t, w.codec, w.github, w.records(event.TopicBaseRepos), w.records(event.TopicSweeps), w.records(event.TopicSignals), "owner-0", "owner-1")
}

// linesOf is the owners that have a ledger line in a sweep.
func (w *world) linesOf(sweep string) map[string]bool {
	w.t.Helper()
	owners := map[string]bool{}
	for _, r := range w.records(event.TopicSweeps) {
		line, err := w.codec.Swept(w.t.Context(), r)
		if err != nil {
			w.t.Fatal(err)
		}
		if line.SweepID == sweep {
			owners[line.Owner] = true
		}
	}
	return owners
}
