package aggregate_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/shared/event"
)

// some returns the first repositories of the recording, day by day.
func some(t *testing.T, n int) (byRepo map[int64][]event.RepoObserved, mixed []event.RepoObserved) {
	t.Helper()
	byRepo = recording(t)
	for _, id := range slices.Sorted(maps.Keys(byRepo))[n:] {
		delete(byRepo, id)
	}
	for _, all := range byRepo {
		mixed = append(mixed, all...)
	}
	slices.SortStableFunc(mixed, func(a, b event.RepoObserved) int { return a.ObservedAt.Compare(b.ObservedAt) })
	return byRepo, mixed
}

// bulk makes blocks small, so that there are many and few of them are written to Redis.
func (w *world) bulk() map[string]string {
	env := maps.Clone(w.env)
	env["AGGREGATE_BULK_BLOCK_RECORDS"], env["AGGREGATE_BULK_UNSAVED_RECORDS"] = "300", "1000"
	return env
}

// exact checks that each observation came out once, as by the definition.
func (w *world) exact(byRepo map[int64][]event.RepoObserved) {
	w.t.Helper()
	rows := w.rows()
	got := series(rows)
	want := 0
	for _, all := range byRepo {
		for i, o := range all {
			row, ok := got[o.Key()]
			if !ok {
				w.t.Fatalf("%s at %s is missing", o.NameWithOwner, o.ObservedAt)
			}
			same(w.t, "row", row, slowly(all[:i], o))
			if row.Revision != int64(i+1) || row.Late {
				w.t.Fatalf("%s at %s: revision %d, late %v", o.NameWithOwner, o.ObservedAt, row.Revision, row.Late)
			}
			want++
		}
	}
	if len(rows) != want {
		w.t.Errorf("%d rows of %d observations", len(rows), want)
	}
}

func TestBulkJobsAndTheFunctionShareTheWorkAndDoubleNothing(t *testing.T) {
	w := newWorld(t)
	w.env["AGGREGATE_MEMBER"] = "dynamic"
	byRepo, mixed := some(t, 10)
	w.send(mixed[:len(mixed)/2]...)
	ended := make(chan error)
	for range 2 {
		go func() { ended <- aggregate.Drain(context.Background(), w.bulk(), nil) }()
	}
	f := aggregate.New()
	if err := f.Start(context.Background(), w.env); err != nil {
		t.Fatal(err)
	}
	w.send(mixed[len(mixed)/2:]...)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	w.settle()
	if err := f.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.exact(byRepo)
}

func TestBulkJobGoesOnFromWhereverItWasBroken(t *testing.T) {
	long(t)
	w := newWorld(t)
	byRepo, mixed := some(t, 10)
	part := len(mixed) / 4

	// Stopped at some point, twice.
	w.send(mixed[:2*part]...)
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
		if err := aggregate.Drain(ctx, w.bulk(), nil); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	if err := aggregate.Drain(context.Background(), w.bulk(), nil); err != nil {
		t.Fatal(err)
	}

	// Killed with histories unsaved: Redis is as it was some blocks ago.
	before := snapshot(w.redis)
	w.send(mixed[2*part : 3*part]...)
	if err := aggregate.Drain(context.Background(), w.bulk(), nil); err != nil {
		t.Fatal(err)
	}
	restore(w.redis, before)
	w.send(mixed[3*part : 3*part+100]...)
	w.run()

	// And an empty Redis.
	w.redis.FlushAll()
	w.send(mixed[3*part+100:]...)
	if err := aggregate.Drain(context.Background(), w.bulk(), nil); err != nil {
		t.Fatal(err)
	}
	w.exact(byRepo)
}

func TestRebuiltStateIsThatOfAnUndisturbedRun(t *testing.T) {
	w := newWorld(t)
	byRepo, mixed := some(t, 10)
	half := len(mixed) / 2
	w.send(mixed[:half]...)
	w.run()
	before := snapshot(w.redis)
	for _, key := range w.redis.Keys()[:5] {
		w.redis.Del(key)
	}
	for range 2 { // and again
		if _, err := aggregate.Rebuild(context.Background(), w.env, nil, func(int64, int64) {}); err != nil {
			t.Fatal(err)
		}
	}
	after := snapshot(w.redis)
	if !slices.Equal(slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(before))) {
		t.Errorf("%d keys, want %d", len(after), len(before))
	}
	w.send(mixed[half:]...)
	w.run()
	w.exact(byRepo)
}
