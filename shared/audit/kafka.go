package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Purged says until when the data of owners was deleted from all stores but
// Kafka, by login in lower case.
type Purged map[string]time.Time

func (p Purged) has(owner string, at time.Time) bool { return at.Before(p[strings.ToLower(owner)]) }

// Base says what the observations in Kafka are that stores must hold; a record
// that is no valid observation counts for nothing here.
func Base(ctx context.Context, cfg kafka.Config, codec *event.Codec, purged Purged) (*Account, error) {
	count := NewCount()
	err := readAll(ctx, cfg, event.TopicBaseRepos, func(r *kgo.Record) error {
		o, err := codec.Observed(ctx, r)
		if err != nil {
			return err
		}
		if purged.has(o.Owner, o.ObservedAt) {
			return nil
		}
		count.Add(o.Key(), o.SweepID, Observed(&o), 0)
		return nil
	})
	return count.Account, err
}

// Processed says what the processed observations in Kafka are. Of several rows
// of one observation the first counts: the others re-state it.
func Processed(ctx context.Context, cfg kafka.Config, codec *event.Codec, purged Purged) (*Account, error) {
	count := NewCount()
	err := readAll(ctx, cfg, event.TopicProcessedRepos, func(r *kgo.Record) error {
		p, err := codec.Processed(ctx, r)
		if err != nil {
			return err
		}
		if purged.has(p.Owner, p.ObservedAt) {
			return nil
		}
		count.Add(p.Key(), p.SweepID, Observed(&p.Observation), Velocity(&p))
		return nil
	})
	return count.Account, err
}

// Ledger collects the ledger lines, the newest of each owner in each sweep.
func Ledger(ctx context.Context, cfg kafka.Config, codec *event.Codec, purged Purged) (map[string][]event.OwnerSwept, error) {
	newest := map[[2]string]event.OwnerSwept{}
	err := readAll(ctx, cfg, event.TopicSweeps, func(r *kgo.Record) error {
		line, err := codec.Swept(ctx, r)
		if err != nil {
			return err
		}
		if purged.has(line.Owner, line.FinishedAt) {
			return nil
		}
		newest[[2]string{line.SweepID, line.Owner}] = line
		return nil
	})
	out := map[string][]event.OwnerSwept{}
	for _, line := range newest {
		out[line.SweepID] = append(out[line.SweepID], line)
	}
	return out, err
}

// DeadLetters counts the distinct records that could not be processed.
func DeadLetters(ctx context.Context, cfg kafka.Config) (int64, error) {
	ids := map[string]bool{}
	for _, c := range event.Contracts() {
		err := readAll(ctx, cfg, event.DeadLetterTopic(c.Topic), func(r *kgo.Record) error {
			ids[event.Header(r, "ce_id")] = true
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return int64(len(ids)), nil
}

// readAll reads a topic up to its present end. An invalid record is passed over.
func readAll(ctx context.Context, cfg kafka.Config, topic string, each func(*kgo.Record) error) error {
	ends, err := kafka.Ends(ctx, cfg, topic)
	if err != nil {
		return err
	}
	for p, end := range ends {
		err := kafka.ReadRange(ctx, cfg, p, 0, end, func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				if err := each(r); err != nil && !errors.Is(err, event.ErrInvalid) {
					return fmt.Errorf("%s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read %s/%d: %w", p.Topic, p.Number, err)
		}
	}
	return nil
}
