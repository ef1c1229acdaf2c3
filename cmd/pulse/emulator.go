package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/github"
)

type emulatorCommand struct {
	Owners  []string `default:"acme,globex,initech,jane:user" help:"Logins; a login may be followed by :user, by =N for N repositories, or both (jane:user=5)."`
	Repos   int      `default:"1000" help:"Number of repositories of all owners together, besides those given by =N."`
	Seed    uint64   `default:"1" help:"Seed of the data: the same seed gives the same repositories."`
	Listen  string   `default:"127.0.0.1:9470" help:"Address to listen on."`
	Token   string   `default:"emulated" help:"The token that it accepts."`
	Events  float64  `default:"2" help:"Events an hour for each repository, in their feeds."`
	Lose    float64  `default:"0" help:"Share of the events, 0 to 1, that no feed shows though the counters have moved."`
	Instant bool     `help:"Answer at once, without limits. Otherwise answers take as long as GitHub's, and its limits apply."`
}

// Run serves a world that changes with time, until it is stopped. It needs npm once,
// to fetch GitHub's schema.
func (c *emulatorCommand) Run(ctx context.Context) error {
	owners, err := c.plan()
	if err != nil {
		return err
	}
	if c.Lose < 0 || c.Lose > 1 {
		return fmt.Errorf("--lose %v: want 0 to 1", c.Lose)
	}
	total := 0
	for _, o := range owners {
		total += o.Repos
	}
	world := github.Generate(github.Plan{
		Feeds: github.Feeds{Seed: c.Seed, Rate: c.Events * float64(total), Lost: c.Lose, Repeated: .01, Latency: 10 * time.Minute, Keep: 2 * github.FeedEvents},
		Seed:  c.Seed, Owners: owners, Start: time.Now(),
		Life: github.Life{Created: 1, Deleted: .5, Renamed: .5, Transferred: .1, Archived: .5, Hidden: .2, Pushed: 100},
	})
	emulator, err := github.New(world, c.Token)
	if err != nil {
		return err
	}
	if !c.Instant {
		emulator.SetTiming(github.Measured())
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: emulator, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		_ = server.Shutdown(closing)
	}()
	logins := make([]string, len(owners))
	for i, o := range owners {
		logins[i] = o.Login
	}
	fmt.Printf("A stand-in for GitHub with %d repositories of %d owners. Sweep it:\n", total, len(owners))
	fmt.Printf("  GITHUB_GRAPHQL_URL=http://%s/graphql GITHUB_TOKEN=%s OWNERS_FILE= OWNERS=%s bin/pulse up\n", listener.Addr(), c.Token, strings.Join(logins, ","))
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// plan shares the repositories out among the owners that were given no number:
// the first gets most, each next one less.
func (c *emulatorCommand) plan() ([]github.OwnerPlan, error) {
	if c.Repos < 0 || c.Repos > 1_000_000 {
		return nil, fmt.Errorf("--repos %d: want 0 to 1,000,000", c.Repos)
	}
	var (
		owners []github.OwnerPlan
		open   []int
		shares float64
	)
	for i, entry := range c.Owners {
		o := github.OwnerPlan{}
		name, number, given := strings.Cut(entry, "=")
		login, kind, _ := strings.Cut(name, ":")
		if login == "" || kind != "" && kind != "user" {
			return nil, fmt.Errorf("owner %q: want login, login:user or login=N", entry)
		}
		o.Login, o.User = login, kind == "user"
		if given {
			if _, err := fmt.Sscanf(number, "%d", &o.Repos); err != nil || o.Repos < 0 || o.Repos > 1_000_000 {
				return nil, fmt.Errorf("owner %q: invalid number of repositories %q", entry, number)
			}
		} else {
			open = append(open, i)
			shares += 1 / float64(len(open))
		}
		owners = append(owners, o)
	}
	left := c.Repos
	for n, i := range open {
		share := int(math.Round(float64(c.Repos) / float64(n+1) / shares))
		if n == len(open)-1 {
			share = left
		}
		owners[i].Repos = min(share, left)
		left -= owners[i].Repos
	}
	return owners, nil
}
