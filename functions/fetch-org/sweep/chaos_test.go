package sweep

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/twmb/franz-go/pkg/kgo"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "the first seed")
	chaosSeeds = flag.Int("chaos.seeds", 2, "how many seeds")
)

// TestSweepsThroughChaos sweeps worlds that live, through everything that can
// break, and holds what came out against the worlds' own records. The seed of a
// run that fails is its name:
//
//	go test -run TestSweepsThroughChaos -chaos.seed N -chaos.seeds 1
func TestSweepsThroughChaos(t *testing.T) {
	if testing.Short() {
		*chaosSeeds = min(*chaosSeeds, 1)
	}
	codec := metCodec(t)
	if *chaosSeeds > 1 { // of one run, all that the function says is of interest
		was := slog.Default()
		slog.SetDefault(slog.New(slog.DiscardHandler))
		t.Cleanup(func() { slog.SetDefault(was) })
		redis.SetLogger(&logging.VoidLogger{})
	}
	for i := range *chaosSeeds {
		seed := *chaosSeed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { storm(t, codec, seed) })
		})
	}
}

// storm is one run: three hourly sweeps, and as many hours as they need.
func storm(t *testing.T, codec *event.Codec, seed uint64) {
	// A bubble begins in 2000, when GitHub was not there yet.
	time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	rng := rand.New(rand.NewPCG(seed, 0))
	plan := emulator.Plan{Seed: seed, Start: time.Now(), Life: emulator.Life{
		Created: some(rng, 100), Deleted: some(rng, 50), Renamed: some(rng, 50), Transferred: some(rng, 20),
		Archived: some(rng, 20), Hidden: some(rng, 20), Pushed: some(rng, 300),
	}}
	for i, repos := range []int{rng.IntN(120), rng.IntN(20), 0} {
		plan.Owners = append(plan.Owners, emulator.OwnerPlan{Login: fmt.Sprintf("owner-%d", i), User: i == 1, Repos: repos})
	}
	world := emulator.Generate(plan)
	saml := &emulator.Owner{Login: "saml", Type: "Organization", Denies: emulator.SAML}
	world.Owners = append(world.Owners, saml)
	c := startCluster(t, codec, world, rng, map[string]string{
		"GITHUB_TOKEN": "token-1,token-2,token-3", "OWNERS": "owner-0 owner-1 owner-2 saml nobody",
		"KAFKA_BROKERS": "localhost:9092", "GITHUB_GRAPHQL_URL": "http://" + githubAddress,
	})
	c.github.Grant("token-1", "alice")
	c.github.Grant("token-2", "alice")
	c.github.Grant("token-3", "bob")
	c.github.SetSkew(time.Duration(rng.IntN(7)-3) * time.Second)
	c.github.SetWeather(&emulator.Weather{
		Seed: seed, Killed: some(rng, .1), Unavailable: some(rng, .1), TimedOut: some(rng, .05), Secondary: some(rng, .03), Spent: some(rng, .02),
		Starved: some(rng, .1), Blank: some(rng, .1), Cut: some(rng, .05), Slow: some(rng, .05), Garbage: some(rng, .05), Maintenance: some(rng, .02), Reset: some(rng, .05), Odd: .1,
		Storms: time.Duration(some(rng, 20)) * time.Minute,
	})
	c.services["redis"].fray = some(rng, .005)
	c.services["kafka"].fray = some(rng, .01)
	c.sources()
	c.disasters(rng, 3*time.Hour)

	time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)))
	for i := range 3 {
		if i > 0 {
			time.Sleep(time.Hour)
		}
		c.sweep()
		if rng.IntN(4) == 0 {
			c.sweep() // of a second scheduler
		}
	}
	// In calm the last sweep ends, or had ended.
	time.Sleep(30 * time.Minute)
	c.github.SetWeather(nil)
	for _, s := range c.services {
		s.mu.Lock()
		s.fray = 0
		s.mu.Unlock()
		s.mend()
	}
	c.settled()
	// The calm after the storm: nothing may hinder this sweep.
	time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)))
	c.mu.Lock()
	c.deaf = 0
	c.mu.Unlock()
	c.sweep()
	c.settled() // though it may have to wait for the next hour's points
	judge(t, codec, c.github, c.records(event.TopicBaseRepos), c.records(event.TopicSweeps), c.records(event.TopicSignals), "owner-0", "owner-1", "owner-2")
	c.account()
}

// settled waits until no sweep is open any more.
func (c *cluster) settled() {
	for deadline := time.Now().Add(26 * time.Hour); ; {
		time.Sleep(5 * time.Minute)
		members, err := c.redis.ZMembers(index)
		if err != nil || len(members) == 0 { // miniredis has no empty sets
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("sweeps without an end: %v", members)
			return
		}
	}
}

func some(rng *rand.Rand, most float64) float64 { return rng.Float64() * most }

// disasters strike a number of times: replicas are killed after some message,
// services are out, replicas are cut off and come back as zombies.
func (c *cluster) disasters(rng *rand.Rand, within time.Duration) {
	for range rng.IntN(6) {
		at := time.Duration(rng.Float64()*float64(within)) + time.Hour - 5*time.Minute
		kind, lasts, messages := rng.IntN(4), time.Duration(rng.IntN(600))*time.Second, 1+rng.IntN(200)
		if rng.IntN(2) == 0 { // while much is under way
			at = at.Truncate(time.Hour) + time.Duration(rng.IntN(120))*time.Second
		}
		c.running.Go(func() {
			if !c.sleep(at) {
				return
			}
			switch kind {
			case 0, 1:
				for _, r := range c.living() {
					r.mu.Lock()
					r.lives = messages
					r.mu.Unlock()
				}
			case 2:
				service := c.services[[]string{"kafka", "redis", "github"}[messages%3]]
				service.cut()
				c.sleep(lasts)
				service.mend()
			case 3:
				for _, r := range c.living() {
					r.link.cut()
					c.sleep(lasts / 10)
					r.link.mend()
				}
			}
		})
	}
}

func (c *cluster) living() []*replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*replica(nil), c.replicas...)
}

// account says what a run was like, and whether GitHub's limits were kept.
func (c *cluster) account() {
	requests := c.github.Requests()
	killed, refused, breaches := 0, 0, 0
	for _, r := range requests {
		if r.Killed {
			killed++
		}
		if r.Refused {
			refused++
		}
		if r.Breach {
			breaches++
		}
	}
	// A process that starts has to ask whose each token is before it can know of
	// a limit; and some answers that said so were lost on their way.
	if most := 3*len(c.all) + 10; breaches > most {
		c.t.Errorf("GitHub was asked %d times though it had said to wait, more than %d", breaches, most)
	}
	c.t.Logf("%d questions, %d killed, %d refused, %d of them breaches; %d replicas, %d bells lost, until %s",
		len(requests), killed, refused, breaches, len(c.all), c.lost, time.Now().Format(time.DateTime))
}

// judge holds what is in Kafka against the emulator's record of its world. The
// last sweep of the owners in calm has to be complete.
func judge(t *testing.T, codec *event.Codec, github *emulator.Server, base, sweeps, signals []*kgo.Record, calm ...string) {
	t.Helper()
	type part struct{ sweep, owner string }
	seen := map[part]map[int64]bool{}
	for _, r := range base {
		o, err := codec.Observed(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		p := part{o.SweepID, strings.ToLower(o.Owner)}
		if seen[p] == nil {
			seen[p] = map[int64]bool{}
		}
		seen[p][o.ID] = true
		if !had(github, *o) {
			t.Errorf("repository %d never had %d stars about %s", o.ID, o.Stars, o.ObservedAt)
		}
	}
	lines := map[part]event.OwnerSwept{}
	var last string
	for _, r := range sweeps {
		line, err := codec.Swept(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		p := part{line.SweepID, strings.ToLower(line.Owner)}
		if was, ok := lines[p]; ok && !same(was, *line) {
			t.Errorf("two ledger lines of %v:\n%+v\n%+v", p, was, *line)
		}
		lines[p], last = *line, max(last, line.SweepID)
	}
	for p, line := range lines {
		truth := github.Truth(p.owner, line.StartedAt, line.FinishedAt)
		found := seen[p]
		what := fmt.Sprintf("%s of %s: %s", p.owner, p.sweep, show(line))
		switch {
		case p.owner == "nobody" && line.Status != event.StatusUnknownOwner && line.Status != event.StatusIncomplete,
			p.owner == "saml" && line.Status != event.StatusFailed && line.Status != event.StatusIncomplete,
			p.owner != "nobody" && p.owner != "saml" && line.Status != event.StatusComplete && line.Status != event.StatusIncomplete:
			t.Errorf("%s: a status that is not true", what)
		case line.Status != event.StatusComplete && line.Reason == nil:
			t.Errorf("%s: without a reason", what)
		}
		if line.Seen > int64(len(found)) {
			t.Errorf("%s: Kafka has only %d repositories of it", what, len(found))
		}
		for id := range found {
			if !truth.Ever[id] {
				t.Errorf("%s: repository %d was not there: %s", what, id, github.Biography(id))
			}
		}
		if line.Status != event.StatusComplete {
			continue
		}
		for id := range truth.Throughout {
			if !found[id] {
				t.Errorf("%s: repository %d is lost between %s and %s: %s", what, id, line.StartedAt, line.FinishedAt, github.Biography(id))
			}
		}
		if line.Expected == nil || *line.Expected > int64(len(truth.Ever)) || *line.Expected < int64(len(truth.Throughout)) {
			t.Errorf("%s: there were %d repositories throughout and %d ever", what, len(truth.Throughout), len(truth.Ever))
		}
	}
	for _, owner := range calm {
		if line, ok := lines[part{last, owner}]; !ok || line.Status != event.StatusComplete && line.Expected != nil && *line.Expected == int64(len(seen[part{last, owner}])) {
			t.Errorf("%s of %s, in calm: %s", owner, last, show(line))
		}
	}
	if len(base) == 0 {
		t.Error("nothing was observed")
	}
	raised := raisedBy(t, codec, signals)
	for p, line := range lines {
		kinds := raised[line.SweepID+"/"+line.Owner]
		delete(raised, line.SweepID+"/"+line.Owner)
		if line.Gone != nil && kinds[signal.RepositoryGone] != *line.Gone || line.New != nil && kinds[signal.RepositoryNew] != 0 && kinds[signal.RepositoryNew] != *line.New ||
			line.New == nil && kinds[signal.RepositoryNew] != 0 {
			t.Errorf("%v: %s: signals %v", p, show(line), kinds)
		}
		trouble := map[string]string{event.StatusFailed: signal.OwnerFailed, event.StatusUnknownOwner: signal.OwnerFailed, event.StatusIncomplete: signal.SweepIncomplete}[line.Status]
		for _, kind := range []string{signal.OwnerFailed, signal.SweepIncomplete} {
			if kinds[kind] > 1 || kinds[kind] == 1 && kind != trouble {
				t.Errorf("%v: %s: signals %v", p, show(line), kinds)
			}
		}
	}
	if len(raised) > 0 {
		t.Errorf("signals without a ledger line: %v", raised)
	}
}

// raisedBy counts the signals by their evidence and kind, each once however often it is
// in Kafka. What comes again must be the same.
func raisedBy(t *testing.T, codec *event.Codec, records []*kgo.Record) map[string]map[string]int64 {
	t.Helper()
	seen, counts := map[string]*event.Signal{}, map[string]map[string]int64{}
	for _, r := range records {
		s, err := codec.Signal(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if was := seen[s.ID]; was != nil {
			if !reflect.DeepEqual(was, s) {
				t.Errorf("two signals %s:\n%+v\n%+v", s.ID, was, s)
			}
			continue
		}
		seen[s.ID] = s
		if counts[s.Evidence] == nil {
			counts[s.Evidence] = map[string]int64{}
		}
		counts[s.Evidence][s.Kind]++
	}
	return counts
}

// had says whether a repository had the stars that it is said to have had, at
// the time or while GitHub may have worked on the answer.
func had(github *emulator.Server, o event.RepoObserved) bool {
	for back := range 40 {
		if github.Stars(o.ID, o.ObservedAt.Add(-time.Duration(back)*time.Second)) == o.Stars {
			return true
		}
	}
	return false
}

func same(a, b event.OwnerSwept) bool { return show(a) == show(b) && a.FinishedAt.Equal(b.FinishedAt) }

func show(l event.OwnerSwept) string {
	n := func(p *int64) string {
		if p == nil {
			return "?"
		}
		return fmt.Sprint(*p)
	}
	reason := ""
	if l.Reason != nil {
		reason = " (" + *l.Reason + ")"
	}
	return fmt.Sprintf("%s%s, expected %s, seen %d, new %s, renamed %s, gone %s, unanswered %d, pages %d, killed %d, points %d, %.0f s",
		l.Status, reason, n(l.Expected), l.Seen, n(l.New), n(l.Renamed), n(l.Gone), l.Unanswered, l.Pages, l.KilledPages, l.Points, l.Seconds)
}
