package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Purged is until when the data of owners was deleted from all stores but Kafka, by
// login in lower case.
type Purged map[string]time.Time

func (p Purged) has(owner string, at time.Time) bool { return at.Before(p[strings.ToLower(owner)]) }

// Log is Kafka, which has what every store must hold.
type Log struct {
	Kafka  kafka.Config
	Codec  *event.Codec
	Purged Purged // is left out of all that is read
	// Accounts whose events were deleted from all stores but Kafka; left out too.
	Forgotten Accounts
}

// readBase passes the observations, up to some ends of the topic's partitions, to a
// counter. An invalid record is skipped.
func (l Log) readBase(ctx context.Context, ends kafka.Offsets, to account.Counter) error {
	sums := account.NewSummer()
	return l.read(ctx, event.TopicBaseRepos, ends, func(r *kgo.Record) error {
		o, err := l.Codec.Observed(ctx, r)
		if err != nil {
			return err
		}
		if !l.Purged.has(o.Owner, o.ObservedAt) {
			to.Add(o.Key(), o.SweepID, sums.Observed(o))
		}
		return nil
	})
}

// readProcessed passes the processed observations, up to some ends, to a counter. Of
// several rows of one observation the first counts: the others are restatements.
func (l Log) readProcessed(ctx context.Context, ends kafka.Offsets, to account.Counter) error {
	sums := account.NewSummer()
	return l.read(ctx, event.TopicProcessedRepos, ends, func(r *kgo.Record) error {
		p, err := l.Codec.Processed(ctx, r)
		if err != nil {
			return err
		}
		if !l.Purged.has(p.Owner, p.ObservedAt) {
			to.Add(p.Key(), p.SweepID, sums.Processed(p))
		}
		return nil
	})
}

// read passes the records of a topic, up to some ends, to each. An invalid record is
// skipped. One whose schema the registry does not know is read again after all others:
// if one of those could be read, the record is invalid, else the registry is at fault.
func (l Log) read(ctx context.Context, topic string, ends kafka.Offsets, each func(*kgo.Record) error) error {
	starts, err := kafka.Starts(ctx, l.Kafka, topic)
	if err != nil {
		return err
	}
	var unsure *kgo.Record // the first of those whose schema was unknown
	for _, p := range slices.SortedFunc(maps.Keys(ends), func(a, b kafka.Partition) int { return cmp.Compare(a.Number, b.Number) }) {
		if p.Topic != topic {
			continue
		}
		err := kafka.ReadRange(ctx, l.Kafka, p, starts[p], ends[p], func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				err := each(r)
				switch {
				case err == nil || errors.Is(err, event.ErrInvalid):
				case errors.Is(err, event.ErrUnknownSchema):
					if unsure == nil {
						unsure = r
					}
				default:
					return fmt.Errorf("%s/%d/%d: %w", r.Topic, r.Partition, r.Offset, err)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read %s/%d: %w", p.Topic, p.Number, err)
		}
	}
	if unsure == nil {
		return nil
	}
	_, err = kafka.InvalidReason(unsure, each(unsure))
	return err
}
