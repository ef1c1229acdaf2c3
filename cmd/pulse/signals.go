package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/signal"
)

type signalsCommand struct {
	scopeArgs
	Kind     []string `help:"Only those of these kinds: breakout,release,… (docs/signals.md)."`
	Severity string   `default:"info" enum:"info,notice,warning,critical" help:"Only those of this severity or a higher one."`
	Limit    int      `default:"20" help:"The newest so many, 1 to 1000."`
	Follow   bool     `help:"Go on with those that are raised from now on, a line each, until interrupted."`
	format
}

// Run shows signals, the newest first.
func (c *signalsCommand) Run(ctx context.Context, p *place) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return fmt.Errorf("--limit %d: want 1 to 1000", c.Limit)
	}
	if c.Follow && c.CSV {
		return errors.New("--follow prints lines or, with --json, JSON lines: leave --csv out")
	}
	kinds := signal.Kinds()
	for _, k := range c.Kind {
		if !slices.ContainsFunc(kinds, func(d signal.Definition) bool { return d.Kind == k }) {
			var known []string
			for _, d := range kinds {
				known = append(known, d.Kind)
			}
			return fmt.Errorf("--kind %q is none of %s", k, strings.Join(known, ", "))
		}
	}
	conn, scope, err := c.open(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	of := hot.SignalChoice{Scope: scope, Kinds: c.Kind, Least: c.Severity}
	if c.Follow {
		return c.follow(ctx, p, of)
	}
	found, err := hot.Signals(ctx, conn, of, nil, c.Limit)
	if err != nil {
		return err
	}
	out := sheet{title: fmt.Sprintf("Signals of %s, the newest first", scope), columns: []string{"Observed", "Severity", "Kind", "What"}, defined: []any{}}
	if c.CSV {
		out.columns = []string{"observed_at", "severity", "kind", "repo_id", "name_with_owner", "owner", "company", "metric", "value", "usual", "window", "words", "evidence", "signal_id"}
	}
	for i := range found {
		s := &found[i]
		out.shown = append(out.shown, table.Row{s.ObservedAt.Format("2006-01-02 15:04"), s.Severity, s.Kind, visible(s.Words)})
		out.plain = append(out.plain, []string{
			s.ObservedAt.Format(time.RFC3339), s.Severity, s.Kind, plain(s.RepoID), orUnknown(s.NameWithOwner, ""), s.Owner, orUnknown(s.Company, ""),
			orUnknown(s.Metric, ""), plain(s.Value), plain(s.Usual), orUnknown(s.Window, ""), s.Words, s.Evidence, s.ID,
		})
	}
	return c.print(out, found)
}

// followEvery is how often the topic is asked for new signals.
const followEvery = 2 * time.Second

// follow prints the signals that are written to Kafka from now on.
func (c *signalsCommand) follow(ctx context.Context, p *place, of hot.SignalChoice) error {
	env, err := p.addresses()
	if err != nil {
		return err
	}
	cfg, err := p.kafka(ctx)
	if err != nil {
		return err
	}
	codec, err := event.NewCodec(env["SCHEMA_REGISTRY_URL"])
	if err != nil {
		return err
	}
	read, err := kafka.Ends(ctx, cfg, event.TopicSignals)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil // interrupted
		case <-time.After(followEvery):
		}
		ends, err := kafka.Ends(ctx, cfg, event.TopicSignals)
		if err != nil {
			return err
		}
		for partition, end := range ends {
			if end <= read[partition] {
				continue
			}
			err := kafka.ReadRange(ctx, cfg, partition, read[partition], end, func(records []*kgo.Record, _ int64) error {
				for _, r := range records {
					s, err := codec.Signal(ctx, r)
					if errors.Is(err, event.ErrInvalid) { // a dead letter of the sinks
						continue
					}
					if err != nil {
						return err
					}
					if of.Has(s) {
						if err := c.line(s); err != nil {
							return err
						}
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			read[partition] = end
		}
	}
}

// line prints one signal.
func (c *signalsCommand) line(s *event.Signal) error {
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	_, err := fmt.Printf("%s  %-8s %s\n", s.ObservedAt.Format("2006-01-02 15:04"), s.Severity, visible(s.Words))
	return err
}
