package sinkiceberg

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/apache/iceberg-go"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// full sets every field that a row can have.
func full(id int64) *event.RepoProcessed {
	p := processedRow(id, 3, 2)
	n, s, at := int64(7), "text", time.Date(2025, 1, 2, 3, 4, 5, 678e6, time.UTC)
	o := reflect.ValueOf(&p.Observation).Elem()
	for i := range o.NumField() {
		switch f := o.Field(i); f.Interface().(type) {
		case *int64:
			f.Set(reflect.ValueOf(&n))
		case *string:
			f.Set(reflect.ValueOf(&s))
		case *time.Time:
			f.Set(reflect.ValueOf(&at))
		case bool:
			f.SetBool(true)
		case string:
			if f.String() == "" {
				f.SetString("x")
			}
		}
	}
	p.OwnerType, p.Late = "Organization", true
	for i, d := range velocity.Definitions() {
		switch f := velocity.Field(i); d.Kind {
		case field.Int:
			p.SetInt(f, int64(i))
		case field.Time:
			p.SetInt(f, at.UnixMilli()-int64(i))
		case field.Float:
			p.SetFloat(f, float64(i)/3)
		case field.Bool:
			p.SetBool(f, i%2 == 0)
		}
	}
	return p
}

func TestWhatIsReadIsWhatWasStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sparse := &event.RepoProcessed{Observation: *observed(2, 4), ProcessedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Revision: 1}
	sparse.Forks, sparse.Company, sparse.Languages, sparse.Topics = nil, nil, []event.Language{}, []string{}
	want := []*event.RepoProcessed{full(1), sparse}
	w.put(processed(w.cold, w.letters, w.codec), w.block(event.TopicProcessedRepos, w.record(want[0]), w.record(want[1])))
	var got []*event.RepoProcessed
	at, err := ReadProcessed(context.Background(), w.open(), nil, func(rows []*event.RepoProcessed) error {
		got = append(got, rows...)
		return nil
	})
	if err != nil || at.TopicID != topicID || at.Next[0] != 2 {
		t.Fatalf("position %+v, %v", at, err)
	}
	slices.SortFunc(got, func(a, b *event.RepoProcessed) int { return cmp.Compare(a.ID, b.ID) })
	for i := range want {
		if len(got) != len(want) || !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("row %d of\n%+v\nwant %+v", i, got, want)
		}
	}

	raw := base(w.cold, w.letters, w.codec)
	for day := range 4 {
		w.put(raw, w.block(event.TopicBaseRepos, w.record(observed(1, day))))
	}
	seen := 0
	from := iceberg.GreaterThanEqual(iceberg.Reference("observed_at"), iceberg.Timestamp(observed(1, 2).ObservedAt.UnixMicro()))
	if _, err := ReadObserved(context.Background(), w.open(), from, func(rows []*event.RepoObserved) error {
		seen += len(rows)
		return nil
	}); err != nil || seen != 2 {
		t.Errorf("%d rows from the third day on, %v, want 2", seen, err)
	}
}

func TestATableThatIsNotThereHasNoRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at, err := ReadSwept(context.Background(), w.open(), func([]*event.OwnerSwept) error { t.Error("a row"); return nil })
	if err != nil || at.TopicID != "" {
		t.Errorf("%+v, %v", at, err)
	}
}
