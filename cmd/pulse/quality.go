package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/python"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/quality"
	"github.com/m7pulse/m7pulse/shared/download"
	"github.com/m7pulse/m7pulse/shared/signal"
)

type qualityCommand struct {
	Suite   []string `help:"Only these suites of infra/quality/suites."`
	Days    int      `default:"40" help:"How many days back from the newest observation to look."`
	Install bool     `help:"Only bring Great Expectations into the cache."`
	JSON    bool     `help:"Print JSON."`
}

// Run holds both stores against the suites, keeps what it finds, and fails if a critical
// expectation does not hold.
func (q *qualityCommand) Run(ctx context.Context, p *place) error {
	if q.Days < 1 || q.Days > 10_000 {
		return fmt.Errorf("--days %d: want 1 to 10,000", q.Days)
	}
	quiet()
	if q.Install {
		c, err := p.checker(nil, os.Stderr)
		if err == nil {
			_, err = c.Install(ctx)
		}
		return err
	}
	s, env, err := p.pipeline(ctx)
	if err != nil {
		return err
	}
	defer closeStores(s)
	report, page, err := p.checkQuality(ctx, s, env, q.Days, q.Suite)
	if err != nil {
		return err
	}
	if q.JSON {
		err = printJSON(report)
	} else {
		printQuality(report)
		if page != "" {
			fmt.Printf("Written to %s\n", page)
		}
	}
	if err == nil && len(report.Failed(signal.Critical)) > 0 {
		err = exitStatus(1)
	}
	return err
}

// checker runs the suites against the stores of an environment. What the installers and
// Great Expectations print goes to log.
func (p *place) checker(env map[string]string, log io.Writer) (quality.Checker, error) {
	cache, err := download.Dir()
	return quality.Checker{
		Source: filepath.Join(p.root, "infra", "quality"), Cache: cache, Env: env, Log: log,
		Say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}, err
}

// restLimit is how long a check waits for functions to be done: what is on its way would
// be in one store only.
const restLimit = time.Minute

// onItsWay is how long an observation may take into both stores.
const onItsWay = 15 * time.Minute

// checkQuality runs the suites, keeps the report, and returns it with the page that it
// is written to, if there is a home.
func (p *place) checkQuality(ctx context.Context, s *pipeline.Pipeline, env map[string]string, days int, suites []string) (report *quality.Report, page string, err error) {
	c, err := p.checker(env, os.Stderr)
	if err != nil {
		return nil, "", err
	}
	order, err := p.qualityOrder(ctx, s, env, days)
	if err != nil {
		return nil, "", err
	}
	order.Suites = suites
	if report, err = c.Run(ctx, order); err != nil {
		return nil, "", err
	}
	if err := quality.Keep(ctx, s, env, report); err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(string(p.home)); err != nil {
		return report, "", nil // a cluster: the results are in ClickHouse
	}
	page, err = quality.WritePage(p.home.QualityDir(), report)
	return report, page, err
}

// qualityOrder is what to look at by now. A store of a recording is as fresh as
// ClickHouse's state says; one that reads GitHub is to have this or the last hour.
func (p *place) qualityOrder(ctx context.Context, s *pipeline.Pipeline, env map[string]string, days int) (o quality.Order, err error) {
	waiting, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	_, err = s.WaitAtRest(waiting, p.runner(env))
	if ctx.Err() != nil || err != nil && waiting.Err() == nil {
		return o, err
	}
	o.AtRest = err == nil
	now := time.Now().UTC()
	o.Until = now
	if !o.AtRest {
		o.Until = now.Add(-onItsWay)
	}
	newest, err := sinkclickhouse.Newest(ctx, s.Hot)
	if err != nil {
		return o, err
	}
	kind, err := p.home.Kind() // of a stack of our own; a store that is shared has a note itself
	if noted, failed := (sinkclickhouse.Origin{Conn: s.Hot}).Kind(ctx); noted != "" || failed != nil {
		kind, err = stack.Kind(noted), failed
	}
	if err != nil {
		return o, err
	}
	o.FreshSince = now.Add(-2 * time.Hour)
	if kind.Ends() {
		o.FreshSince = newest.Add(-2 * time.Hour)
	}
	o.Since = newest.AddDate(0, 0, -days).Truncate(24 * time.Hour)
	return o, nil
}

func printQuality(report *quality.Report) {
	t := newTable("", "Suite", "Expectation", "Store", "Severity", "What is expected")
	counts := map[string]int{}
	for _, r := range report.Results {
		mark, words := "ok", r.Says
		if !r.Passed {
			mark, words = "FAILED", r.Sentence()
			counts[r.Severity]++
		}
		t.AppendRow(table.Row{mark, r.Suite, r.Expectation, r.Store, r.Severity, oneLine(words)})
	}
	t.Render()
	fmt.Printf("\n%d expectations: %d critical ones failed, %d others. %.1f s, %.1f s of it to load Great Expectations; %s rows and %s read\n",
		len(report.Results), counts[signal.Critical], len(report.Failed(""))-counts[signal.Critical], report.Seconds, report.LoadSeconds, count(report.ReadRows), size(report.ReadBytes))
}

// qualityMinute is the minute of each hour at which a stack checks the quality: the
// hour's sweep is over, and its burst of compaction too.
const qualityMinute = 50

// checkHourly checks the quality of a stack that is up, once an hour, if Great
// Expectations was installed by pulse quality: it is not for every stack to fetch 700 MB.
// wait returns once it has stopped.
func (u *upCommand) checkHourly(ctx context.Context, p *place, s *stack.Stack) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			at := time.Now().Truncate(time.Hour).Add(qualityMinute * time.Minute)
			if !at.After(time.Now()) {
				at = at.Add(time.Hour)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(at)):
			}
			if err := checkNow(ctx, p, s.Env); err != nil && ctx.Err() == nil {
				fmt.Printf("The quality of the data was not checked: %v\n", err)
			}
		}
	}()
	return func() { <-done }
}

func checkNow(ctx context.Context, p *place, env map[string]string) error {
	c, err := p.checker(env, io.Discard)
	if err != nil {
		return err
	}
	there, err := c.Installed(ctx)
	if err != nil || !there {
		return err
	}
	s, err := pipeline.Open(ctx, env)
	if err != nil {
		return err
	}
	defer closeStores(s)
	report, _, err := p.checkQuality(ctx, s, env, 40, nil)
	if err != nil {
		return err
	}
	for _, f := range report.Failed("") {
		fmt.Printf("Data quality, %s: %s\n", f.Severity, oneLine(f.Sentence()))
	}
	return nil
}

// draftCheck is what a draft of pulse reprocess is held against before it is published;
// nil where Great Expectations is not there and need not be.
func (p *place) draftCheck(ctx context.Context, env map[string]string, need string) (func(context.Context) ([]string, error), error) {
	if need == "never" {
		return nil, nil
	}
	c, err := p.checker(env, os.Stderr)
	if err != nil {
		return nil, err
	}
	there, err := c.Installed(ctx)
	if err != nil {
		return nil, err
	}
	if !there && need != "always" {
		return nil, nil
	}
	if _, err := c.Install(ctx); errors.Is(err, python.ErrNone) {
		return nil, fmt.Errorf("--quality always: %w", err)
	} else if err != nil {
		return nil, err
	}
	return c.CheckDraft, nil
}
