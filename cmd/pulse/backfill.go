package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/backfill"
	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

type backfillCommand struct {
	GHArchive ghArchiveCommand `cmd:"" name:"gharchive" help:"Read hourly files of GH Archive: events of the listed owners, of 2015 or later."`
}

type ghArchiveCommand struct {
	Sources []string `arg:"" name:"file" help:"Files named like 2026-06-01-15.json.gz; or one URL or path with {date} and {hour}, such as https://data.gharchive.org/{date}-{hour}.json.gz."`
	From    moment   `help:"First hour, UTC: 2025-03-01, or 2025-03-01T12:00:00Z."`
	To      moment   `help:"The hour behind the last."`
	Owners  []string `help:"Logins whose repositories' events are taken; the listed owners unless given."`
	All     bool     `help:"Take every event, whoever's it is."`
	Bots    []string `env:"BOTS" help:"Logins of more bots, as fetch-events has them."`
	Journal string   `help:"File that says which hours are done; backfill-gharchive.jsonl in PULSE_HOME unless given."`
	JSON    bool     `help:"Print JSON."`
}

// Run reads the hours in order. Hours that are done are passed over. It exits with 1
// if an hour could not be read.
func (c *ghArchiveCommand) Run(ctx context.Context, p *place) error {
	hours, err := c.hours()
	if err != nil {
		return err
	}
	filter, err := c.filter(ctx, p)
	if err != nil {
		return err
	}
	env, err := p.addresses()
	if err != nil {
		return err
	}
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return err
	}
	codec, err := event.NewWriter(env["SCHEMA_REGISTRY_URL"], kafka.Newest(cfg))
	if err != nil {
		return err
	}
	to, err := backfill.NewToKafka(cfg, codec)
	if err != nil {
		return err
	}
	defer to.Close()
	if c.Journal == "" {
		c.Journal = p.home.BackfillJournal()
	}
	journal, err := backfill.OpenJournal(c.Journal)
	if err != nil {
		return err
	}
	leave, err := p.home.EnterReplay()
	if err != nil {
		return errors.Join(err, journal.Close())
	}
	defer leave()
	a := &backfill.Archive{
		Filter: filter, Reader: feed.Reader{Bots: feed.NewBots(c.Bots...), Source: "gharchive"}, To: to, Journal: journal,
		Client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: time.Minute}}, Pause: 2 * time.Second,
	}
	if a.Repositories, err = observed(ctx, env["CLICKHOUSE_URL"]); err != nil {
		return errors.Join(err, journal.Close())
	}
	return errors.Join(c.read(ctx, a, hours), journal.Close())
}

// observed are the repositories that the hot store knows; without one none are.
func observed(ctx context.Context, address string) ([]backfill.Repository, error) {
	if address == "" {
		return nil, nil
	}
	conn, err := sinkclickhouse.Open(address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	found, err := hot.AllObserved(ctx, conn)
	if err != nil {
		return nil, err
	}
	out := make([]backfill.Repository, len(found))
	for i, r := range found {
		out[i] = backfill.Repository{ID: r.ID, NameWithOwner: r.NameWithOwner, Owner: r.Owner}
	}
	return out, nil
}

func (c *ghArchiveCommand) hours() ([]backfill.Hour, error) {
	if len(c.Sources) == 1 && strings.Contains(c.Sources[0], "{") {
		return backfill.Hours(c.Sources[0], c.From.Time, c.To.Time)
	}
	return backfill.Files(c.Sources, c.From.Time, c.To.Time)
}

// filter takes the owners that are asked for, or those that are listed, with the
// patterns of their repositories.
func (c *ghArchiveCommand) filter(ctx context.Context, p *place) (backfill.Filter, error) {
	switch {
	case c.All && len(c.Owners) > 0:
		return backfill.Filter{}, errors.New("--all or --owners, not both")
	case c.All:
		return backfill.Everything(), nil
	case len(c.Owners) > 0:
		return backfill.Owners(c.Owners, nil), nil
	}
	list, _, err := p.owners()
	if err != nil {
		return backfill.Filter{}, err
	}
	defer list.Close()
	owners, err := list.List(ctx)
	if err != nil {
		return backfill.Filter{}, err
	}
	if len(owners) == 0 {
		return backfill.Filter{}, errors.New("no owner is listed: name some with --owners, or take --all")
	}
	var logins []string
	listed := map[string]sweep.Owner{}
	for _, o := range owners {
		logins = append(logins, o.Login)
		listed[strings.ToLower(o.Login)] = o
	}
	return backfill.Owners(logins, func(owner, name string) bool {
		o := listed[strings.ToLower(owner)]
		_, short, _ := strings.Cut(strings.ToLower(name), "/")
		return len(o.Repos) == 0 && o.Includes(name) || slices.ContainsFunc(o.Repos, func(r string) bool { return strings.EqualFold(r, name) || strings.EqualFold(r, short) })
	}), nil
}

// backfilled is what a backfill has done.
type backfilled struct {
	Hours      int      `json:"hours"`
	Skipped    int      `json:"skipped"` // done before
	Lines      int64    `json:"lines"`
	Events     int64    `json:"events"`
	Unreadable int64    `json:"unreadable"`
	Missing    []string `json:"missing"` // gaps: hours without a file
	Failed     []string `json:"failed"`
	Seconds    float64  `json:"seconds"`
}

func (c *ghArchiveCommand) read(ctx context.Context, a *backfill.Archive, hours []backfill.Hour) error {
	began := time.Now()
	var sum backfilled
	progress := newBar("backfill", "hours")
	defer progress.close()
	var failed []error
	var gaps []backfill.Line
	for i, h := range hours {
		progress.describe("backfill " + h.Name)
		progress.show(int64(i), int64(len(hours)))
		line, err := a.Hour(ctx, h)
		if err != nil {
			return fmt.Errorf("hour %s: %w; the next backfill goes on there", h.Name, err)
		}
		sum.Hours++
		if line.Skipped {
			sum.Skipped++
			continue
		}
		sum.Lines += line.Lines
		sum.Events += line.Events
		sum.Unreadable += line.Unreadable
		if line.Status != backfill.Done {
			gaps = append(gaps, line)
		}
		switch line.Status {
		case backfill.Missing:
			sum.Missing = append(sum.Missing, h.Name)
		case backfill.Failed:
			sum.Failed = append(sum.Failed, h.Name)
			failed = append(failed, fmt.Errorf("hour %s: %s", h.Name, line.Reason))
		}
	}
	progress.close()
	if len(sum.Missing) < len(hours) {
		if err := a.Gaps(ctx, gaps); err != nil {
			return fmt.Errorf("write %d gaps into the ledger: %w", len(gaps), err)
		}
	}
	sum.Seconds = time.Since(began).Seconds()
	if c.JSON {
		return errors.Join(append([]error{printJSON(sum)}, failed...)...)
	}
	fmt.Printf("%s hours, %s of them done before; %s events of %s lines in %s; %s unreadable\n",
		count(int64(sum.Hours)), count(int64(sum.Skipped)), count(sum.Events), count(sum.Lines), time.Since(began).Round(time.Millisecond), count(sum.Unreadable))
	if len(sum.Missing) > 0 {
		where := "the journal"
		if len(a.Repositories) > 0 && len(sum.Missing) < len(hours) {
			where = "the journal and, of the repositories that have been observed, in the ledger of feeds"
		}
		fmt.Printf("gaps: GH Archive has no file of %d hours, from %s to %s; they are in %s\n", len(sum.Missing), sum.Missing[0], sum.Missing[len(sum.Missing)-1], where)
	}
	if len(sum.Missing) == len(hours) && len(hours) > 0 {
		failed = append(failed, errors.New("no hour has a file: check the files or the URL template"))
	}
	return errors.Join(failed...)
}
