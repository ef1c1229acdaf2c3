package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/traces"
)

type traceCommand struct {
	Of    string `arg:"" optional:"" help:"A sweep (2026-01-02T15:00:00Z), a repository (owner/name), or a trace id of a log line; the newest sweep if it is left out."`
	Owner string `help:"Of a sweep, only what was done for this owner."`
	JSON  bool   `help:"Print JSON."`
}

var traceID = regexp.MustCompile("^[0-9a-fA-F]{32}$")

// Run shows traces as trees.
func (t *traceCommand) Run(ctx context.Context, p *place) error {
	conn, err := p.hotStore()
	if err != nil {
		return err
	}
	defer conn.Close()
	var roots []*traces.Node
	switch {
	case traceID.MatchString(t.Of):
		roots, err = traces.OfTrace(ctx, conn, t.Of)
	case strings.Contains(t.Of, "/"):
		roots, err = traces.OfRepository(ctx, conn, t.Of)
	default:
		roots, err = traces.OfSweep(ctx, conn, t.Of, t.Owner)
	}
	if err != nil {
		return err
	}
	if t.JSON {
		return printJSON(roots)
	}
	for i, r := range roots {
		if i > 0 {
			fmt.Println()
		}
		fmt.Printf("trace %s, %s UTC\n", r.Trace, r.Began.UTC().Format("2006-01-02 15:04:05.000"))
		printSpan(r, r.Began, "", "", "")
	}
	return nil
}

// printSpan prints a span and what follows from it: when it began, how long it took,
// which function it was of.
func printSpan(n *traces.Node, began time.Time, own, below, parent string) {
	function := n.Function
	if function == parent {
		function = ""
	}
	fmt.Println(visible(fmt.Sprintf("%10s %9s  %-15s %s%s%s", "+"+took(n.Began.Sub(began)), took(n.Took), function, own, n.Name, details(n.Span))))
	for i, c := range n.Children {
		if i == len(n.Children)-1 {
			printSpan(c, began, below+"└ ", below+"  ", n.Function)
		} else {
			printSpan(c, began, below+"├ ", below+"│ ", n.Function)
		}
	}
}

func took(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s ", d.Seconds())
}

// details are the attributes that say what a span was about.
func details(s traces.Span) string {
	var all []string
	for _, a := range []struct{ name, form string }{
		{"m7pulse.owner", "%s"}, {"m7pulse.owners", "%s owners"}, {"m7pulse.width", "%s wide"}, {"m7pulse.points", "%s points"},
		{"messaging.batch.message_count", "%s records"}, {"db.operation.batch.size", "%s rows"}, {"m7pulse.files", "%s files"},
	} {
		if v := s.Attributes[a.name]; v != "" {
			all = append(all, fmt.Sprintf(a.form, v))
		}
	}
	if seconds, err := strconv.ParseFloat(s.Attributes["m7pulse.waits"], 64); err == nil {
		all = append(all, fmt.Sprintf("GitHub's limits: waits %.1f s", seconds))
	}
	if s.Attributes["faas.coldstart"] == "true" {
		all = append(all, "cold start")
	}
	if n := len(s.Links); n > 0 {
		all = append(all, fmt.Sprintf("joins %d more", n))
	}
	if s.Error != "" {
		all = append(all, "failed: "+s.Error)
	}
	if len(all) == 0 {
		return ""
	}
	return "  (" + strings.Join(all, ", ") + ")"
}
