package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/deadletters"
	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/knative"
	"github.com/m7pulse/m7pulse/infra/local/stack"
)

type statusCommand struct {
	JSON  bool          `help:"Print JSON; with --watch a line each time."`
	Watch bool          `short:"w" help:"Go on until interrupted."`
	Every time.Duration `default:"2s" help:"How often, with --watch; 1s or more."`
}

// statusReport is what the command prints as JSON.
type statusReport struct {
	stack.Status
	DeadLetters  int64                    `json:"dead_letters"`
	FailedSweeps []sweep.Failure          `json:"failed_sweeps"` // of owners whose last one failed
	FeedGaps     *sinkclickhouse.FeedGaps `json:"feed_gaps"`     // nil: ClickHouse does not say
}

// Run asks the running stack for its status, once or until it is interrupted. A stack
// that goes away meanwhile is waited for.
func (s *statusCommand) Run(ctx context.Context, p *place) error {
	if !s.Watch {
		return s.show(ctx, p)
	}
	if s.Every < time.Second {
		return fmt.Errorf("--every %s: want 1s or more", s.Every)
	}
	each := time.NewTicker(s.Every)
	defer each.Stop()
	for {
		if !s.JSON {
			clearScreen()
		}
		if err := s.show(ctx, p); err != nil && ctx.Err() == nil {
			fmt.Printf("%s: %v\n", time.Now().Format(time.TimeOnly), err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-each.C:
		}
	}
}

// show asks once.
func (s *statusCommand) show(ctx context.Context, p *place) error {
	env, err := p.home.ReadEnv()
	if err != nil {
		return err
	}
	status, err := stack.NewControl(env).Status(ctx)
	if err != nil {
		return err
	}
	cfg, err := stack.KafkaOf(ctx, env)
	if err != nil {
		return err
	}
	letters, err := deadletters.Waiting(ctx, cfg)
	if err != nil {
		return err
	}
	failed, err := failedNow(ctx, env)
	if err != nil {
		return err
	}
	gaps, unknown := s.gaps(ctx, env)
	report := statusReport{status, letters, failed, gaps}
	if s.JSON && s.Watch {
		return json.NewEncoder(os.Stdout).Encode(report)
	}
	if s.JSON {
		return printJSON(report)
	}
	printStatus(status, letters)
	if unknown != nil {
		fmt.Printf("gaps of feeds: unknown: %v\n", unknown)
	}
	printGaps(gaps)
	printFailed(failed)
	return nil
}

// gapsWithin bounds the question to ClickHouse: it may be what is at fault.
const gapsWithin = 5 * time.Second

// gaps asks ClickHouse what feeds have lost.
func (s *statusCommand) gaps(ctx context.Context, env map[string]string) (*sinkclickhouse.FeedGaps, error) {
	ctx, cancel := context.WithTimeout(ctx, gapsWithin)
	defer cancel()
	conn, err := sinkclickhouse.Open(env["CLICKHOUSE_URL"])
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	gaps, err := sinkclickhouse.ReadFeedGaps(ctx, conn)
	if err != nil {
		return nil, err
	}
	return &gaps, nil
}

// printGaps says what feeds have lost, if they have.
func printGaps(g *sinkclickhouse.FeedGaps) {
	if g == nil || g.Newest == nil {
		return
	}
	from := "their begin"
	if g.Newest.From != nil {
		from = g.Newest.From.UTC().Format(time.DateTime)
	}
	fmt.Printf("gaps of feeds: %s in %s repositories; the newest: %s, from %s to %s UTC", count(g.Gaps), count(g.Repositories), visible(g.Newest.Repository), from, g.Newest.To.UTC().Format(time.DateTime))
	if g.Newest.Reason != nil {
		fmt.Printf(", %s", visible(*g.Newest.Reason))
	}
	fmt.Println(" (`pulse coverage` says how much was lost)")
}

func printStatus(s stack.Status, letters int64) {
	fmt.Printf("home %s, pid %d, %s resident (%s)\n\n", s.Home, s.PID, size(s.RSS), s.Emulation)
	t := newTable("Server", "What it is", "Address", "Memory")
	for _, v := range s.Servers {
		t.AppendRow(table.Row{v.Name, v.Kind, v.Address, size(v.RSS)})
	}
	t.Render()
	fmt.Println()
	t = newTable("Function", "Replicas", "PID", "Starts", "Ready", "First answer", "Requests", "Failed", "Memory", "Address")
	for _, f := range s.Functions {
		var failed int64
		for _, n := range f.Failures {
			failed += n
		}
		t.AppendRow(table.Row{f.Name, f.Replicas, orDash(f.PID), f.Starts, ms(f.Ready.Median), ms(f.FirstOK.Median), count(f.Requests), count(failed), size(f.Resident), f.URL})
	}
	t.Render()
	fmt.Println()
	t = newTable("Source", "Topic", "Function", "Delivered", "Retried", "Given up", "Lag")
	for _, v := range s.Sources {
		t.AppendRow(table.Row{v.Name, v.Topic, v.Function, count(v.Delivered), count(v.Retried), count(v.Dropped), count(v.Undelivered)})
	}
	t.Render()
	fmt.Printf("\ndead letters: %d\n", letters)
	slices.SortFunc(s.Ticks, func(a, b knative.TickStatus) int { return a.Next.Compare(b.Next) })
	if len(s.Ticks) > 0 {
		fmt.Printf("next tick: %s at %s\n", s.Ticks[0].Name, s.Ticks[0].Next.Local().Format(time.TimeOnly))
	}
}

func ms(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f ms", v)
}

func orDash(pid int) any {
	if pid == 0 {
		return "–"
	}
	return pid
}
