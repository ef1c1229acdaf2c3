package sweep

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

var (
	allFigures  = flag.Bool("figures", false, "measure the sweeps of tens of thousands of repositories instead")
	figureRepos = flag.Int("repos", 800, "how many repositories are swept to measure time and cost")
)

// TestFigures says how long sweeps take, what they cost and how many pages are
// killed, with the page times that users of GitHub have measured: the first
// sweep of owners, which asks for everything with every width still to be
// learnt, and the next.
func TestFigures(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: make property-test runs it")
	}
	figures := []figure{{*figureRepos, 1, 1, time.Duration(*figureRepos) * 8 * time.Minute / 2_000}}
	if *allFigures {
		// The first is not reached: it takes 31 to 32 minutes, for it asks 28 minutes
		// of GitHub's work and the budgets use nine tenths of what is allowed.
		figures = []figure{{10_000, 7, 1, 30 * time.Minute}, {30_000, 21, 3, time.Hour}}
	}
	was := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(was) })
	codec := metCodec(t)
	for _, f := range figures {
		t.Run(fmt.Sprintf("%d repositories of %d owners, tokens of %d users", f.repos, f.owners, f.users), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f.measure(t, codec) })
		})
	}
}

// figure is how many repositories are swept, and how long the second sweep may
// take.
type figure struct {
	repos, owners, users int
	within               time.Duration
}

func (f figure) measure(t *testing.T, codec *event.Codec) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	time.Sleep(time.Until(start))
	plan := emulator.Plan{Seed: 1, Start: start, Life: emulator.Life{
		Created: .1, Deleted: .05, Renamed: .05, Transferred: .02, Archived: .05, Hidden: .02, Pushed: 20,
	}}
	var logins, tokens []string
	for i := range f.owners {
		logins = append(logins, fmt.Sprintf("owner-%d", i))
		plan.Owners = append(plan.Owners, emulator.OwnerPlan{Login: logins[i], Repos: f.repos / f.owners})
	}
	for i := range f.users {
		tokens = append(tokens, fmt.Sprintf("token-%d", i))
	}
	c := startCluster(t, codec, emulator.Generate(plan), rand.New(rand.NewPCG(1, 0)), map[string]string{
		"KAFKA_BROKERS": "localhost:9092", "GITHUB_GRAPHQL_URL": "http://" + githubAddress,
		"GITHUB_TOKEN": strings.Join(tokens, ","), "OWNERS": strings.Join(logins, ","),
	})
	c.deaf = 0
	for i, token := range tokens {
		c.github.Grant(token, fmt.Sprintf("user-%d", i))
	}
	c.sources()
	asked := 0
	for i, name := range []string{"first", "second"} {
		time.Sleep(time.Until(start.Add(time.Duration(i*3) * time.Hour)))
		began := time.Now()
		c.sweep()
		for ended := false; !ended; {
			time.Sleep(5 * time.Second)
			members, err := c.redis.ZMembers(index)
			ended = err != nil || len(members) == 0 // an empty set is none
		}
		took := time.Since(began)
		var sum event.OwnerSwept
		lines := 0
		for _, r := range c.records(event.TopicSweeps) {
			l, err := codec.Swept(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if l.FinishedAt.Before(began) {
				continue
			}
			lines++
			sum.Seen += l.Seen
			sum.Points += l.Points
			if l.Status != event.StatusComplete {
				t.Errorf("%s of %s: %s", name, l.Owner, show(*l))
			}
		}
		if lines != f.owners {
			t.Errorf("%d ledger lines for %d owners", lines, f.owners)
		}
		questions := c.github.Requests()[asked:]
		asked += len(questions)
		var work time.Duration
		killed := 0
		for _, q := range questions {
			work += q.Took
			if q.Killed {
				killed++
			}
		}
		each := float64(sum.Points) / float64(sum.Seen)
		share := float64(killed) / float64(len(questions))
		t.Logf("%s: %d repositories in %s; %.4f points each; %.3f s of GitHub's work each, %.0f %% of what it allows; %d of %d questions killed",
			name, sum.Seen, took, each, work.Seconds()/float64(sum.Seen), 100*work.Seconds()/took.Seconds()/float64(f.users), killed, len(questions))
		if n := c.github.Breaches(); n > 0 {
			t.Errorf("GitHub was asked %d times in spite of its limits", n)
		}
		if name == "second" && (took > f.within || each > 0.05 || share >= 0.005) {
			t.Errorf("in %s, %.4f points each, %.1f %% killed; want %s, 0.05, 0.5 %%", took, each, 100*share, f.within)
		}
	}
}
