package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/forecast"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	"github.com/m7pulse/m7pulse/pipeline"
)

type ownersCommand struct {
	List     ownersList     `cmd:"" help:"List the owners that the next sweep reads."`
	Add      ownersAdd      `cmd:"" help:"Add organisations, people or single repositories, from the next tick on."`
	Remove   ownersRemove   `cmd:"" help:"Stop sweeping an owner."`
	Forecast ownersForecast `cmd:"" help:"Forecast what owners cost, before they are added."`
}

// owners opens the list of owners of this place, and returns the settings that it was
// found by. The caller closes it.
func (p *place) owners() (list *sweep.Owners, env map[string]string, err error) {
	if env, err = p.ownersEnv(); err != nil {
		return nil, nil, err
	}
	list, err = sweep.OpenOwners(env["REDIS_URL"])
	return list, env, err
}

type ownersList struct {
	JSON bool `help:"Print JSON."`
}

// Run prints the list.
func (c *ownersList) Run(ctx context.Context, p *place) error {
	list, _, err := p.owners()
	if err != nil {
		return err
	}
	defer list.Close()
	owners, err := list.List(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(owners)
	}
	if len(owners) == 0 {
		fmt.Println("No owner is listed. The first sweep takes those of owners.yaml; `pulse owners add` lists more.")
		return nil
	}
	t := newTable("Owner", "Company", "What", "From")
	for _, o := range owners {
		from := "owners add"
		if o.Seeded {
			from = "configuration"
		}
		t.AppendRow(table.Row{o.Login, o.Company, whatOf(o), from})
	}
	t.Render()
	return nil
}

// whatOf says which repositories of an owner are swept.
func whatOf(o sweep.Owner) string {
	if len(o.Repos) > 0 {
		return "only " + strings.Join(o.Repos, ", ")
	}
	what := "all repositories"
	if len(o.Include) > 0 {
		what = strings.Join(o.Include, ", ")
	}
	if len(o.Exclude) > 0 {
		what += " but " + strings.Join(o.Exclude, ", ")
	}
	return what
}

// ownerArgs are owners as they are named on a command line.
type ownerArgs struct {
	Who     []string `arg:"" help:"Logins of organisations or people, or owner/name for a single repository; or their addresses on github.com."`
	Company string   `help:"Company that they belong to; any label."`
	Include []string `help:"Patterns of repository names to sweep, such as 'aws-*'."`
	Exclude []string `help:"Patterns of repository names to leave out."`
}

func (d *ownerArgs) owners() ([]sweep.Owner, error) {
	var all []sweep.Owner
	var errs []error
	for _, who := range d.Who {
		o, err := sweep.ParseOwner(who)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if d.Company != "" {
			o.Company = d.Company
		}
		o.Include, o.Exclude = d.Include, d.Exclude
		all = append(all, o)
	}
	return all, errors.Join(errs...)
}

type ownersAdd struct {
	ownerArgs
	Unchecked bool `help:"Do not check with GitHub that they exist and what they cost."`
}

// Run lists owners, once GitHub has confirmed that they exist. It adds all or
// none.
func (c *ownersAdd) Run(ctx context.Context, p *place) error {
	owners, err := c.owners()
	if err != nil {
		return err
	}
	list, env, err := p.owners()
	if err != nil {
		return err
	}
	defer list.Close()
	if !c.Unchecked {
		if env["GITHUB_TOKEN"] == "" {
			return errors.New("GITHUB_TOKEN is not set: it is needed to check that the owners exist; --unchecked adds them without")
		}
		v, err := askForecast(ctx, env, list, owners)
		if err != nil {
			return err
		}
		printForecast(v)
	}
	for _, o := range owners {
		if err := list.Add(ctx, o); err != nil {
			return err
		}
		if o, err = list.Get(ctx, o.Login); err != nil {
			return err
		}
		fmt.Printf("added: %s, %s; the next sweep reads it\n", o.Login, whatOf(o))
	}
	return nil
}

type ownersRemove struct {
	Login   string        `arg:"" help:"The owner's login."`
	Purge   bool          `help:"Also delete its data from ClickHouse, Iceberg and Redis. Kafka's records expire by themselves."`
	Timeout time.Duration `default:"10m" help:"Longest wait of a purge for the pipeline to have no work left."`
}

// Run takes an owner off the list. A running sweep of it ends with its next part.
func (c *ownersRemove) Run(ctx context.Context, p *place) error {
	list, env, err := p.owners()
	if err != nil {
		return err
	}
	defer list.Close()
	err = list.Remove(ctx, c.Login)
	switch {
	case err == nil:
		fmt.Printf("removed: %s is swept no longer\n", c.Login)
	case !c.Purge || !errors.Is(err, sweep.ErrNotListed): // the data of an owner removed before may remain
		return err
	}
	if !c.Purge {
		return nil
	}
	s, err := pipeline.Open(ctx, env)
	if err != nil {
		return err
	}
	defer closeStores(s)
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return list.Purge(ctx, c.Login, func(ctx context.Context) error {
		if _, err := s.WaitAtRest(ctx, p.runner(env)); err != nil {
			return err
		}
		repos, err := s.Purge(ctx, c.Login)
		if err == nil {
			fmt.Printf("purged: %s repositories of %s\n", count(int64(repos)), c.Login)
		}
		return err
	})
}

type ownersForecast struct {
	Who  []string `arg:"" optional:"" help:"Logins, or owner/name; by default the owners that are listed."`
	JSON bool     `help:"Print JSON."`
}

// Run asks GitHub how many repositories owners have, and adds up what a sweep of
// them costs. It exits with 1 if the tokens do not suffice.
func (c *ownersForecast) Run(ctx context.Context, p *place) error {
	list, env, err := p.owners()
	if err != nil {
		return err
	}
	defer list.Close()
	owners, err := (&ownerArgs{Who: c.Who}).owners()
	if err != nil {
		return err
	}
	v, err := askForecast(ctx, env, list, owners)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(v)
	} else {
		printForecast(v)
	}
	if err == nil && !v.Enough {
		err = exitStatus(1)
	}
	return err
}

// askForecast asks GitHub for a forecast, and prints an error for each listed owner
// that GitHub does not answer for.
func askForecast(ctx context.Context, env map[string]string, list *sweep.Owners, owners []sweep.Owner) (*forecast.Forecast, error) {
	v, err := forecast.Of(ctx, env, list, owners)
	if err != nil {
		return nil, err
	}
	for _, err := range v.Unknown {
		fmt.Fprintln(os.Stderr, oneLine(err.Error()))
	}
	return v, nil
}

func printForecast(v *forecast.Forecast) {
	t := newTable("Owner", "Is", "Repositories", "Points an hour", "Seconds of GitHub's work an hour")
	row := func(o sweep.Forecast) {
		t.AppendRow(table.Row{o.Login, o.Type, count(o.Repos), count(o.Points), fmt.Sprintf("%.0f", o.Seconds)})
	}
	for _, o := range v.Owners {
		row(o)
	}
	if v.Listed.Repos > 0 {
		row(v.Listed)
	}
	t.Render()
	points, seconds := v.Sum()
	fmt.Printf("Together %s points and %.0f s; the %d tokens of %d users have %s points and %.0f s an hour. The first sweep of an owner costs about twice as much.\n",
		count(points), seconds, v.Capacity.Tokens, v.Capacity.Users, count(v.Capacity.Points), v.Capacity.Seconds)
	if v.Capacity.Refused > 0 {
		fmt.Printf("GitHub refuses %d of the tokens.\n", v.Capacity.Refused)
	}
	if !v.Enough {
		fmt.Println("NOT ENOUGH: the next sweep would begin before one ends. Add tokens of other users, or sweep less often (SWEEP_PERIOD).")
	}
}
