package sinkiceberg

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// signalTable is what the table holds, by id. An id that it holds twice is an error.
func (w *world) signalTable() map[string]event.Signal {
	w.t.Helper()
	c, err := w.cold.open(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]event.Signal{}
	_, err = ReadSignals(w.t.Context(), c, func(rows []*event.Signal) error {
		for _, s := range rows {
			if _, twice := out[s.ID]; twice {
				w.t.Errorf("%s is there twice", s.ID)
			}
			out[s.ID] = *s
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestASignalThatComesAgainIsStoredOnceAsItCameFirst(t *testing.T) {
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(1, 3))
	at := time.Date(2026, 6, 1, 16, 0, 0, 0, time.UTC)
	kinds := signal.Kinds()
	want := map[string]event.Signal{}
	for range 8 {
		var records []*kgo.Record
		for range 20 {
			s := signal.New(kinds[rng.IntN(len(kinds))].Kind)
			s.Owner, s.ObservedAt, s.Evidence = []string{"acme", "Acme", "globex"}[rng.IntN(3)], at.Add(time.Duration(rng.IntN(4))*24*time.Hour), "x"
			if rng.IntN(3) > 0 {
				s.RepoID, s.NameWithOwner, s.Company, s.Metric = new(rng.Int64N(3)), new(s.Owner+"/tool"), new("meta"), new("stars")
				s.Value, s.Usual, s.Window = new(rng.Float64()), new(1/3.), new("24h")
			}
			s.Say("words %d", rng.IntN(1000))
			s.Identify()
			if _, known := want[s.ID]; !known {
				want[s.ID] = *s
			}
			records = append(records, w.record(s))
		}
		b := w.block(event.TopicSignals, records...)
		for range 1 + rng.IntN(2) { // as after a commit whose answer was lost
			w.put(signals(w.cold, w.letters, w.codec), b)
		}
	}
	if got := w.signalTable(); !reflect.DeepEqual(got, want) || len(want) < 50 {
		t.Errorf("%d signals, want %d:\n%v\n%v", len(got), len(want), got, want)
	}

	c, err := w.cold.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := LoadSnapshot(t.Context(), c, TableSignals)
	if err != nil {
		t.Fatal(err)
	}
	count := account.NewCount()
	if err := snapshot.AccountSignals(t.Context(), count); err != nil {
		t.Fatal(err)
	}
	expected, sums := account.NewCount(), account.NewSummer()
	for _, s := range want {
		key, sum := sums.Signal(&s)
		expected.Add(key, "", sum)
	}
	held, err := count.Account()
	if err != nil {
		t.Fatal(err)
	}
	if wanted, err := expected.Account(); err != nil || fmt.Sprint(held) != fmt.Sprint(wanted) {
		t.Errorf("%+v, want %+v (%v)", held, wanted, err)
	}

	if err := Purge(t.Context(), c, []string{"acme", "Acme"}); err != nil {
		t.Fatal(err)
	}
	for id, s := range w.signalTable() {
		if s.Owner != "globex" {
			t.Errorf("%s of %s is left", id, s.Owner)
		}
	}
}
