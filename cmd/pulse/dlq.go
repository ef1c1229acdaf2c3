package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/audit"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
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
	letters, err := audit.Letters(ctx, cfg)
	if err != nil {
		return err
	}
	shown := []*audit.Letter{}
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

// shorten cuts a text to a number of characters, as they are shown.
func shorten(text string, most int) string {
	runes := []rune(oneLine(text))
	if len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return string(runes)
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
	letters, err := audit.Letters(ctx, cfg)
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

// transactionalID is shared by all who settle letters, so that Kafka fences all but
// the newest of them, on whatever machine.
const transactionalID = "m7pulse-dlq"

// settle retries or drops letters. A record that is sent again and the note of it
// are written in one transaction, and of two processes that settle at once one is
// fenced: no letter is settled twice.
func (c *letterSelection) settle(ctx context.Context, p *place, how string) error {
	if c.All == (len(c.IDs) > 0) {
		return errors.New("want the ids of dead letters, or --all")
	}
	cfg, err := p.kafka(ctx)
	if err != nil {
		return err
	}
	client, err := kafka.NewTransactor(cfg, transactionalID)
	if err != nil {
		return err
	}
	defer client.Close()
	// A new producer id fences every other process; only then is it certain which
	// letters are still open.
	if _, _, err := client.ProducerID(ctx); err != nil {
		return fmt.Errorf("fence other processes that settle letters: %w", err)
	}
	letters, err := audit.Letters(ctx, cfg)
	if err != nil {
		return err
	}
	chosen, err := c.choose(letters)
	if err != nil {
		return err
	}
	var notRetryable []error
	for _, l := range chosen {
		err := settleOne(ctx, cfg, client, l, how)
		switch {
		case err == nil:
			fmt.Printf("%s %s\n", l.ID(), how)
		case isNotRetryable(err):
			notRetryable = append(notRetryable, fmt.Errorf("%s can only be dropped: %w", l.ID(), err))
		default:
			return errors.Join(append(notRetryable, fmt.Errorf("settle %s: %w (is another pulse dlq running?)", l.ID(), err))...)
		}
	}
	if len(chosen) == 0 {
		fmt.Println("no dead letter is open")
	}
	return errors.Join(notRetryable...)
}

// settleOne writes the note of one letter and, when it is retried, its record.
func settleOne(ctx context.Context, cfg kafka.Config, client *kgo.Client, l *audit.Letter, how string) error {
	note, err := l.Settle(how, time.Now())
	if err != nil {
		return err
	}
	records := []*kgo.Record{note}
	if how == event.Retried {
		original, err := original(ctx, cfg, l)
		if err != nil {
			return err
		}
		records = append(records, original)
		if bell := event.NewBell(original.Topic); bell != nil {
			records = append(records, bell)
		}
	}
	return transact(ctx, client, records)
}

// isNotRetryable says whether a record can never be sent again, so that its letter
// must not hold up those behind it: it is not in the log any more, or with the
// mayrepeat mark it is larger than its topic allows.
func isNotRetryable(err error) bool {
	return errors.Is(err, kafka.ErrMissing) || errors.Is(err, event.ErrInvalid) || errors.Is(err, kerr.MessageTooLarge)
}

func (c *letterSelection) choose(letters []*audit.Letter) (chosen []*audit.Letter, err error) {
	byID := map[string]*audit.Letter{}
	for _, l := range letters {
		byID[l.ID()] = l
		if c.All && l.Settled == "" {
			chosen = append(chosen, l)
		}
	}
	for _, id := range c.IDs {
		switch l := byID[id]; {
		case l == nil:
			return nil, fmt.Errorf("no dead letter %s: see pulse dlq list", id)
		case l.Settled != "":
			return nil, fmt.Errorf("%s was %s already", id, l.Settled)
		default:
			chosen = append(chosen, l)
		}
	}
	return chosen, nil
}

// original is the record of a letter, read from the letter, or from the record's
// own offset if the letter was cut.
func original(ctx context.Context, cfg kafka.Config, l *audit.Letter) (*kgo.Record, error) {
	if l.Cut != nil {
		r, err := kafka.ReadAt(ctx, cfg, kafka.Partition{Topic: l.Topic, Number: l.Partition}, l.Offset)
		if err != nil {
			return nil, err
		}
		if err := l.Restore(r); err != nil {
			return nil, err
		}
	}
	return l.Original()
}

// transact writes records all together or not at all, within 15 s.
func transact(ctx context.Context, client *kgo.Client, records []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	err := client.ProduceSync(ctx, records...).FirstErr()
	if ended := client.EndTransaction(context.WithoutCancel(ctx), kgo.TransactionEndTry(err == nil)); err == nil {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("write in a transaction: %w", err)
	}
	return nil
}

// kafka is how to reach the stack's Kafka.
func (p *place) kafka(ctx context.Context) (kafka.Config, error) {
	env, err := p.addresses()
	if err != nil {
		return kafka.Config{}, err
	}
	return stack.KafkaOf(ctx, env)
}
