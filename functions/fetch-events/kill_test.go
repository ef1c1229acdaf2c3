package fetchevents

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/portfolio"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "of what is drawn")
	chaosKills = flag.Int("chaos.kills", 1, "how many processes are killed")
)

// TestMain is the function's process where a test has started one.
func TestMain(m *testing.M) { servetest.Main(m, New) }

// process starts a process of the function, and returns also what it logs.
func (in *installation) process(github string) (*servetest.Process, *bytes.Buffer) {
	in.t.Helper()
	log := &bytes.Buffer{}
	return servetest.Start(in.t, map[string]string{
		"KAFKA_BROKERS": strings.Join(in.cfg.Kafka.Brokers, ","), "SCHEMA_REGISTRY_URL": in.cfg.Registry, "REDIS_URL": string(in.cfg.Redis),
		"GITHUB_TOKEN": token, "GITHUB_GRAPHQL_URL": github + "/graphql",
	}, log), log
}

// TestKilledProcessesLoseNoEvents kills real processes with SIGKILL while they read
// feeds, one after the other, and has the next one read what they have left.
func TestKilledProcessesLoseNoEvents(t *testing.T) {
	const repos, each = 40, 60
	rng := rand.New(rand.NewPCG(*chaosSeed, 1))
	world, list := quiet(repos)
	in := install(t, world)
	in.github.SetClock(time.Now)
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond) // as long as GitHub, so that a kill comes while it is asked
		in.github.ServeHTTP(w, r)
	}))
	t.Cleanup(github.Close)

	wake := servetest.Event(t, event.TypeTick, map[string]string{"do": "wake"})
	p, log := in.process(github.URL)
	amid := 0
	for round := range *chaosKills + 1 {
		for _, r := range list { // something has happened everywhere, and every feed is due
			for i := range each {
				in.world.Occur(r, "push", fmt.Sprintf("dev-%d", i%7), time.Now().Add(-time.Duration(each-i)*time.Second))
			}
			if _, err := in.redis.ZAdd(portfolio.FeedsDue, 0, fmt.Sprint(r.ID)); err != nil {
				t.Fatal(err)
			}
		}
		if round < *chaosKills {
			dying, before := p, len(in.stored().events)
			answered := make(chan error, 1)
			go func() { answered <- dying.Post(context.Background(), wake) }()
			for range 1000 { // until it has written something
				if len(in.stored().events) > before {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
			dying.Kill()
			<-answered
			if after := len(in.stored().events); after > before && after < before+repos*each {
				amid++
			}
			in.redis.FastForward(leaseTTL + time.Second) // the dead one's lease runs out
			p, log = in.process(github.URL)
		}
		deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
		for len(in.stored().events) < (round+1)*repos*each && deadline.Err() == nil {
			if err := p.Post(deadline, wake); err != nil {
				t.Logf("a tick is to come again: %v", err)
			}
		}
		cancel()
	}
	s := in.stored()
	lost := 0
	for _, r := range list {
		for _, h := range in.github.Happened(r.ID) {
			if s.events[feed.Key{Type: h.Type, ID: h.ID, CreatedAt: h.At.UnixMilli()}] == nil {
				lost++
			}
		}
	}
	for _, l := range s.lines {
		if l.Status != feed.StatusComplete {
			t.Errorf("line %+v", l)
		}
	}
	t.Logf("%d of %d kills came amid a reading; %d events in %d records, %d lines", amid, *chaosKills, len(s.events), s.records, len(s.lines))
	if want := (*chaosKills + 1) * repos * each; lost > 0 || len(s.events) != want {
		t.Errorf("%d events of %d are in Kafka, %d are lost\n%s", len(s.events), want, lost, log)
	}
	if *chaosKills > 0 && amid == 0 {
		t.Error("no kill came amid a reading")
	}
}
