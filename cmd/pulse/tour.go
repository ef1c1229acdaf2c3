package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/term"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/infra/local/stack"
)

type tourCommand struct {
	All bool `help:"Do not wait between the stops."`
}

// stop is one thing to look at: a command, and what it answers.
type stop struct {
	about   string
	command []string
	lines   int // of the answer that are shown
}

// Run goes through what there is, with figures of this stack: each stop says what it is
// about, then shows a command and what it answers.
func (c *tourCommand) Run(ctx context.Context, p *place) error {
	self, err := stack.Self()
	if err != nil {
		return err
	}
	env, err := p.home.ReadEnv()
	if err != nil {
		return err
	}
	stops, err := tour(ctx, p)
	if err != nil {
		return err
	}
	wait := !c.All && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
	keys := bufio.NewReader(os.Stdin)
	for i, s := range stops {
		fmt.Printf("%d of %d. %s\n\n  $ bin/pulse %s\n", i+1, len(stops), s.about, strings.Join(s.command, " "))
		cmd := exec.CommandContext(ctx, self, s.command...)
		cmd.Env = append(os.Environ(), "PULSE_HOME="+string(p.home))
		out, err := cmd.Output()
		if err != nil {
			var ended *exec.ExitError
			if errors.As(err, &ended) && len(ended.Stderr) > 0 {
				err = errors.New(oneLine(string(bytes.TrimSpace(ended.Stderr))))
			}
			return fmt.Errorf("pulse %s: %w", strings.Join(s.command, " "), err)
		}
		lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
		for _, line := range lines[:min(len(lines), s.lines)] {
			fmt.Println("  " + line)
		}
		if left := len(lines) - s.lines; left > 0 {
			fmt.Printf("  … %d lines more\n", left)
		}
		fmt.Println()
		if wait && i < len(stops)-1 {
			fmt.Print("Enter goes on, Ctrl-C ends it. ")
			if _, err := keys.ReadString('\n'); err != nil {
				return nil // there is nobody who presses a key
			}
			fmt.Println()
		}
	}
	fmt.Printf("The page shows all of it: %s. Dashboards, where the stack has them: http://localhost:8088. Every command: docs/commands.md.\n", env["API_URL"])
	return nil
}

// tour is the way through a stack: what it has no data for is left out.
func tour(ctx context.Context, p *place) ([]stop, error) {
	conn, err := p.hotStore()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	movers, err := hot.Movers(ctx, conn, "7d", 1)
	if err != nil {
		return nil, err
	}
	if len(movers) == 0 {
		return nil, errors.New("nothing has been observed yet: `pulse status` says what is going on")
	}
	names := []string{}
	for _, m := range movers[:min(len(movers), 3)] {
		names = append(names, m.Repository)
	}
	first := names[0]
	stops := []stop{
		{"Who rises fastest: net stars by GitHub's counters, so what people take back counts. Unknown is a dash, never zero.", []string{"top", "--window", "7d", "--each", "1"}, 14},
		{"What the figures mean: each has one definition, for commands, page, API and dashboards.", []string{"top", "--window", "7d", "--explain"}, 8},
		{"One repository, day by day.", []string{"repo", first}, 12},
		{"Repositories of different size side by side: as an index, size is taken out.", append([]string{"compare"}, names...), 10},
		{"Companies by their growth.", []string{"trends"}, 12},
		{"What was out of the usual. The same goes to Slack, mail and webhooks by rules.", []string{"signals"}, 10},
	}
	newest, err := hot.EventsAsOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	if newest != nil {
		stops = append(stops,
			stop{"Who did it, and on how few people the merged work hangs.", []string{"people", first}, 16},
			stop{"How long work waits, with what is waiting still.", []string{"flow", first}, 12},
			stop{"How much of that GitHub's feeds have left out, by the counters.", []string{"coverage"}, 12})
	}
	return append(stops,
		stop{"How it runs: a function is started by an event and is gone a minute later. Nothing is lost by a kill -9 of any of them.", []string{"status"}, 24},
		stop{"The proof: each observation once in Kafka, ClickHouse and Iceberg, equal by checksum.", []string{"audit"}, 10}), nil
}
