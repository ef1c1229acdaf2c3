// Package deadletters lists the records that could not be processed, and settles
// them: they are sent again, or marked as done.
package deadletters

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Letter is a dead letter and how it was settled.
type Letter struct {
	event.DeadLetter
	Stages  []string `json:"stages"`            // all functions that could not process it
	Settled string   `json:"settled,omitempty"` // how; "" while it waits
}

// List returns the dead letters of all topics, each once, in their order.
func List(ctx context.Context, cfg kafka.Config) ([]*Letter, error) {
	var all []*Letter
	byID, settled := map[string]*Letter{}, map[string]event.LetterSettled{}
	for _, c := range event.Contracts() {
		err := read(ctx, cfg, event.DeadLetterTopic(c.Topic), func(r *kgo.Record) {
			if event.Header(r, "ce_type") == event.TypeLetterSettled {
				var s event.LetterSettled
				if json.Unmarshal(r.Value, &s) == nil && s.At.After(settled[s.ID].At) {
					settled[s.ID] = s
				}
				return
			}
			l := &Letter{}
			if json.Unmarshal(r.Value, &l.DeadLetter) != nil {
				return // written by something else: no function could act on it
			}
			known := byID[l.ID()]
			if known == nil {
				known = l
				byID[l.ID()], all = l, append(all, l)
			}
			if !slices.Contains(known.Stages, l.Stage) {
				known.Stages = append(known.Stages, l.Stage)
			}
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

// Waiting counts the dead letters that wait.
func Waiting(ctx context.Context, cfg kafka.Config) (n int64, err error) {
	letters, err := List(ctx, cfg)
	for _, l := range letters {
		if l.Settled == "" {
			n++
		}
	}
	return n, err
}

// read passes the records of a topic up to its present end, partition by partition.
func read(ctx context.Context, cfg kafka.Config, topic string, each func(*kgo.Record)) error {
	ends, err := kafka.Ends(ctx, cfg, topic)
	if err != nil {
		return err
	}
	for _, p := range slices.SortedFunc(maps.Keys(ends), func(a, b kafka.Partition) int { return cmp.Compare(a.Number, b.Number) }) {
		err := kafka.ReadRange(ctx, cfg, p, 0, ends[p], func(records []*kgo.Record, _ int64) error {
			for _, r := range records {
				each(r)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read %s/%d: %w", p.Topic, p.Number, err)
		}
	}
	return nil
}
