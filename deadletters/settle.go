package deadletters

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Selection says which letters: those of some ids, or all that wait.
type Selection struct {
	IDs []string
	All bool
}

// transactionalID is shared by all who settle letters, so that Kafka fences all but
// the newest of them, on whatever machine.
const transactionalID = "m7pulse-dlq"

// Settle retries (event.Retried) or drops (event.Dropped) letters, and calls settled
// with each. A record that is sent again and the note of it are written in one
// transaction, and of two processes that settle at once one is fenced: no letter is
// settled twice. A letter whose record can never be sent again is passed over, and
// named by the error.
func Settle(ctx context.Context, cfg kafka.Config, which Selection, how string, settled func(*Letter)) error {
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
	letters, err := List(ctx, cfg)
	if err != nil {
		return err
	}
	chosen, err := which.choose(letters)
	if err != nil {
		return err
	}
	var notRetryable []error
	for _, l := range chosen {
		err := settleOne(ctx, cfg, client, l, how)
		switch {
		case err == nil:
			settled(l)
		case isNotRetryable(err):
			notRetryable = append(notRetryable, fmt.Errorf("%s can only be dropped: %w", l.ID(), err))
		default:
			return errors.Join(append(notRetryable, fmt.Errorf("settle %s: %w (is another pulse dlq running?)", l.ID(), err))...)
		}
	}
	return errors.Join(notRetryable...)
}

func (s Selection) choose(letters []*Letter) (chosen []*Letter, err error) {
	byID := map[string]*Letter{}
	for _, l := range letters {
		byID[l.ID()] = l
		if s.All && l.Settled == "" {
			chosen = append(chosen, l)
		}
	}
	for _, id := range s.IDs {
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

// settleOne writes the note of one letter and, when it is retried, its record.
func settleOne(ctx context.Context, cfg kafka.Config, client *kgo.Client, l *Letter, how string) error {
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

// original is the record of a letter, read from the letter, or from the record's
// own offset if the letter was cut.
func original(ctx context.Context, cfg kafka.Config, l *Letter) (*kgo.Record, error) {
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
