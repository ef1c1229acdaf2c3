package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/deadletters"
	"github.com/m7pulse/m7pulse/shared/event"
)

type dlqCommand struct {
	List  dlqListCommand  `cmd:"" help:"List the records that could not be processed."`
	Show  dlqShowCommand  `cmd:"" help:"Show everything about one."`
	Retry dlqRetryCommand `cmd:"" help:"Send records again, unchanged, once the cause is fixed."`
	Drop  dlqDropCommand  `cmd:"" help:"Mark records as done without sending them. They stay readable."`
}

type dlqListCommand struct {
	All  bool `help:"Include those that were retried or dropped."`
	JSON bool `help:"Print JSON."`
}

// Run lists the letters, the oldest first.
func (c *dlqListCommand) Run(ctx context.Context, p *place) error {
	cfg, err := p.kafka(ctx)
	if err != nil {
		return err
	}
	letters, err := deadletters.List(ctx, cfg)
	if err != nil {
		return err
	}
	shown := []*deadletters.Letter{}
	for _, l := range letters {
		if c.All || l.Settled == "" {
			shown = append(shown, l)
		}
	}
	if c.JSON {
		return printJSON(shown)
	}
	if len(shown) == 0 {
		fmt.Println("no dead letters")
		return nil
	}
	t := newTable("Id", "Met by", "Since", "Became", "Reason")
	for _, l := range shown {
		became := l.Settled
		if became == "" {
			became = "waits"
		}
		t.AppendRow(table.Row{l.ID(), strings.Join(l.Stages, ", "), l.Time.Format(time.DateTime), became, shorten(l.Reason, 80)})
	}
	t.Render()
	return nil
}

type dlqShowCommand struct {
	ID string `arg:"" help:"topic/partition/offset, as list shows it."`
}

// Run prints one letter as JSON.
func (c *dlqShowCommand) Run(ctx context.Context, p *place) error {
	cfg, err := p.kafka(ctx)
	if err != nil {
		return err
	}
	letters, err := deadletters.List(ctx, cfg)
	if err != nil {
		return err
	}
	for _, l := range letters {
		if l.ID() == c.ID {
			return printJSON(l)
		}
	}
	return fmt.Errorf("no dead letter %s: see pulse dlq list --all", c.ID)
}

// letterSelection says which letters.
type letterSelection struct {
	IDs []string `arg:"" optional:"" name:"id" help:"topic/partition/offset, as list shows it."`
	All bool     `help:"All that are open."`
}

type dlqRetryCommand struct{ letterSelection }

// Run sends the letters' records again.
func (c *dlqRetryCommand) Run(ctx context.Context, p *place) error {
	return c.settle(ctx, p, event.Retried)
}

type dlqDropCommand struct{ letterSelection }

// Run drops the letters.
func (c *dlqDropCommand) Run(ctx context.Context, p *place) error {
	return c.settle(ctx, p, event.Dropped)
}

// settle retries or drops letters.
func (c *letterSelection) settle(ctx context.Context, p *place, how string) error {
	if c.All == (len(c.IDs) > 0) {
		return errors.New("want the ids of dead letters, or --all")
	}
	cfg, err := p.kafka(ctx)
	if err != nil {
		return err
	}
	settled := 0
	err = deadletters.Settle(ctx, cfg, deadletters.Selection(*c), how, func(l *deadletters.Letter) {
		fmt.Printf("%s %s\n", l.ID(), how)
		settled++
	})
	if err == nil && settled == 0 {
		fmt.Println("no dead letter is open")
	}
	return err
}
