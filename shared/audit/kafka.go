package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Purged is until when the data of owners was deleted from all stores but Kafka, by
// login in lower case.
type Purged map[string]time.Time

func (p Purged) has(owner string, at time.Time) bool { return at.Before(p[strings.ToLower(owner)]) }

// ReadBase passes to a counter the observations in Kafka, up to some ends of the
// topic's partitions, that stores must hold. Invalid records are skipped.
func ReadBase(ctx context.Context, cfg kafka.Config, ends kafka.Offsets, codec *event.Codec, purged Purged, to Counter) error {
	sums := NewSummer()
	return readTo(ctx, cfg, event.TopicBaseRepos, ends, func(r *kgo.Record) error {
		o, err := codec.Observed(ctx, r)
		if err != nil {
			return err
		}
		if purged.has(o.Owner, o.ObservedAt) {
			return nil
		}
		to.Add(o.Key(), o.SweepID, sums.Observed(o))
		return nil
	})
}

// ReadProcessed passes to a counter the processed observations in Kafka, up to some
// ends. Of several rows of one observation the first counts: the others are
// restatements.
func ReadProcessed(ctx context.Context, cfg kafka.Config, ends kafka.Offsets, codec *event.Codec, purged Purged, to Counter) error {
	sums := NewSummer()
	return readTo(ctx, cfg, event.TopicProcessedRepos, ends, func(r *kgo.Record) error {
		p, err := codec.Processed(ctx, r)
		if err != nil {
			return err
		}
		if purged.has(p.Owner, p.ObservedAt) {
			return nil
		}
		to.Add(p.Key(), p.SweepID, sums.Processed(p))
		return nil
	})
}

// Ledger returns the ledger lines: of each owner in each sweep the one that was
// finished last.
func Ledger(ctx context.Context, cfg kafka.Config, codec *event.Codec, purged Purged) (map[string][]event.OwnerSwept, error) {
	ends, err := kafka.Ends(ctx, cfg, event.TopicSweeps)
	if err != nil {
		return nil, err
	}
	return LedgerTo(ctx, cfg, ends, codec, purged)
}

// LedgerTo is Ledger up to some ends of the topic's partitions.
func LedgerTo(ctx context.Context, cfg kafka.Config, ends kafka.Offsets, codec *event.Codec, purged Purged) (map[string][]event.OwnerSwept, error) {
	newest := map[[2]string]event.OwnerSwept{}
	err := readTo(ctx, cfg, event.TopicSweeps, ends, func(r *kgo.Record) error {
		line, err := codec.Swept(ctx, r)
		if err != nil {
			return err
		}
		if purged.has(line.Owner, line.FinishedAt) {
			return nil
		}
		of := [2]string{line.SweepID, line.Owner}
		if known, ok := newest[of]; !ok || !line.FinishedAt.Before(known.FinishedAt) {
			newest[of] = *line
		}
		return nil
	})
	out := map[string][]event.OwnerSwept{}
	for _, line := range newest {
		out[line.SweepID] = append(out[line.SweepID], line)
	}
	return out, err
}

// Letter is a dead letter and how it was settled.
type Letter struct {
	event.DeadLetter
	Stages  []string `json:"stages"`            // all functions that could not process it
	Settled string   `json:"settled,omitempty"` // how; "" while it waits
}

// Letters lists the dead letters of all topics, each once, in their order.
func Letters(ctx context.Context, cfg kafka.Config) ([]*Letter, error) {
	var all []*Letter
	byID, settled := map[string]*Letter{}, map[string]event.LetterSettled{}
	for _, c := range event.Contracts() {
		err := readAll(ctx, cfg, event.DeadLetterTopic(c.Topic), func(r *kgo.Record) error {
			if event.Header(r, "ce_type") == event.TypeLetterSettled {
				var s event.LetterSettled
				if err := json.Unmarshal(r.Value, &s); err != nil {
					return event.Invalid("settled letter: %w", err)
				}
				if s.At.After(settled[s.ID].At) {
					settled[s.ID] = s
				}
				return nil
			}
			l := &Letter{}
			if err := json.Unmarshal(r.Value, &l.DeadLetter); err != nil {
				return event.Invalid("dead letter: %w", err)
			}
			known := byID[l.ID()]
			if known == nil {
				known = l
				byID[l.ID()], all = l, append(all, l)
			}
			if !slices.Contains(known.Stages, l.Stage) {
				known.Stages = append(known.Stages, l.Stage)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, l := range all {
		l.Settled = settled[l.ID()].How
	}
	return all, nil
}

// DeadLetters counts the dead letters that wait.
func DeadLetters(ctx context.Context, cfg kafka.Config) (n int64, err error) {
	letters, err := Letters(ctx, cfg)
	for _, l := range letters {
		if l.Settled == "" {
			n++
		}
	}
	return n, err
}

// readAll reads a topic up to its present end. Invalid records are skipped, and so are
// those whose schema the registry does not know, if it knows that of others in the
// topic.
func readAll(ctx context.Context, cfg kafka.Config, topic string, each func(*kgo.Record) error) error {
	ends, err := kafka.Ends(ctx, cfg, topic)
	if err != nil {
		return err
	}
	return readTo(ctx, cfg, topic, ends, each)
}

func readTo(ctx context.Context, cfg kafka.Config, topic string, ends kafka.Offsets, each func(*kgo.Record) error) error {
	var unsure *kgo.Record // the first of those whose schema was unknown
	for _, p := range slices.SortedFunc(maps.Keys(ends), func(a, b kafka.Partition) int { return cmp.Compare(a.Number, b.Number) }) {
		if p.Topic != topic {
			continue
		}
		err := kafka.ReadRange(ctx, cfg, p, 0, ends[p], func(records []*kgo.Record, _ int64) error {
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
	_, err := kafka.InvalidReason(unsure, each(unsure))
	return err
}
