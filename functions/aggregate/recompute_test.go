package aggregate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/event"
)

// long makes a repository's observations over some months, oldest first: dense
// and sparse by turns.
func (f *forge) long(id int64) (all []event.RepoObserved) {
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 8 {
		apart := time.Duration(1+f.rng.IntN(100)) * 20 * time.Minute
		some := f.past(id, apart)
		shift := at.Sub(some[0].ObservedAt) + apart
		for i := range some {
			some[i].ObservedAt = some[i].ObservedAt.Add(shift).Truncate(time.Millisecond)
		}
		all = append(all, some...)
		at = all[len(all)-1].ObservedAt.Add(time.Duration(f.rng.Int64N(int64(15 * 24 * time.Hour))))
	}
	return all
}

func day(o *event.RepoObserved) time.Time { return o.ObservedAt.Truncate(24 * time.Hour) }

// Whatever the day it begins with, and in whatever order it learns what was
// before, Past makes the rows that aggregate makes of a history in order.
func TestRowsComputedAnewAreThoseOfAHistoryInOrder(t *testing.T) {
	tryOn(t, *cases/5, func(ctx context.Context, f *forge, e *engine) error {
		all := f.long(1)
		want, err := f.run(ctx, e, all)
		if err != nil {
			return err
		}
		from := day(&all[f.rng.IntN(len(all))])
		past := NewPast()
		for before := Reach + 30; before > 0; before-- {
			err := past.LearnDay(before, func(each func(*event.RepoObserved) error) error {
				for _, i := range f.rng.Perm(len(all)) {
					if !day(&all[i]).Equal(from.AddDate(0, 0, -before)) {
						continue
					}
					if before > Reach {
						past.Count(all[i].ID, 1)
					} else if err := each(&all[i]); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		beyond := from.AddDate(0, 0, -Reach-30)
		for i := range all {
			o := &all[i]
			if day(o).Before(beyond) {
				past.Count(o.ID, 1)
			}
		}
		for i := range all {
			o := &all[i]
			if day(o).Before(from) {
				continue
			}
			row, known, err := past.Compute(o, time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC))
			if err != nil || known {
				return errors.Join(err, fmt.Errorf("observation %d: known %t", i, known))
			}
			got, err := e.codec.Record(ctx, row, false)
			if err != nil {
				return err
			}
			if key := fmt.Sprintf("%d@%d", o.ID, o.ObservedAt.UnixMilli()); !bytes.Equal(got.Value, want.series[key].Value) {
				return fmt.Errorf("observation %d of %d, from %s on: other than aggregate's", i, len(all), from.Format(time.DateOnly))
			}
			if _, again, err := past.Compute(o, time.Time{}); err != nil || !again {
				return errors.Join(err, fmt.Errorf("observation %d is taken in twice", i))
			}
		}
		return nil
	})
}
