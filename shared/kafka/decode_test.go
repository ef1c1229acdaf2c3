package kafka_test

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// block is records whose values are these texts.
func block(values ...string) (out []*kgo.Record) {
	for i, v := range values {
		out = append(out, &kgo.Record{Topic: "t", Offset: int64(i), Value: []byte(v)})
	}
	return out
}

func TestDecoderOverwritesOnlyRowsThatWereGivenBack(t *testing.T) {
	t.Parallel()
	d := kafka.NewDecoder(func(_ context.Context, r *kgo.Record, n *int) (err error) {
		if *n, err = strconv.Atoi(string(r.Value)); err != nil {
			*n = -1 // what a failed record left
			return event.Invalid("%w", err)
		}
		return nil
	})
	decode := func(values ...string) []*int {
		t.Helper()
		rows, bad, err := d.Decode(context.Background(), block(values...))
		if err != nil {
			t.Fatal(err)
		}
		var got, want []int
		for _, r := range rows {
			got = append(got, *r)
		}
		for _, v := range values {
			if n, err := strconv.Atoi(v); err == nil {
				want = append(want, n)
			}
		}
		if !reflect.DeepEqual(got, want) || len(bad) != len(values)-len(want) {
			t.Errorf("got %v and %d invalid records of %v", got, len(bad), values)
		}
		return rows
	}
	first := decode("1", "invalid", "2", "3", "invalid")
	second := decode("4", "5")
	d.Recycle(first)
	decode("6", "7", "invalid", "8", "9") // more than were recycled
	if *second[0] != 4 || *second[1] != 5 {
		t.Errorf("rows that were not given back are now %d and %d", *second[0], *second[1])
	}
	d.Recycle(second)
	decode("invalid")
	decode()
}

func TestDecoderKeepsSoManyRowsAndNoMore(t *testing.T) {
	t.Parallel()
	d := kafka.NewDecoder(func(context.Context, *kgo.Record, *int64) error { return nil })
	const kept, all = 60_000, 60_500
	decode := func() []*int64 {
		t.Helper()
		rows, _, err := d.Decode(context.Background(), block(make([]string, all)...))
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	first, known := decode(), map[*int64]bool{}
	for _, r := range first {
		known[r] = true
	}
	d.Recycle(first[:all/2])
	d.Recycle(first[all/2:])
	again := 0
	for _, r := range decode() {
		if known[r] {
			again++
		}
	}
	if again != kept {
		t.Errorf("%d rows of %d were used again, want %d", again, all, kept)
	}
}

func TestDecoderFailsOfWhatIsNotTheRecordsFault(t *testing.T) {
	t.Parallel()
	down := errors.New("registry is down")
	d := kafka.NewDecoder(func(context.Context, *kgo.Record, *int) error { return down })
	if _, _, err := d.Decode(context.Background(), block("1")); !errors.Is(err, down) {
		t.Errorf("got %v", err)
	}
}

func TestDecoderStopsWhereTheRegistryKnowsNoRecordOfABlock(t *testing.T) {
	t.Parallel()
	known := false
	d := kafka.NewDecoder(func(_ context.Context, r *kgo.Record, _ *int) error {
		switch {
		case string(r.Value) == "known":
			known = true
			return nil
		case known:
			return event.Invalid("schema id 7")
		}
		return event.ErrUnknownSchema
	})
	if _, _, err := d.Decode(context.Background(), block("unknown", "unknown")); !errors.Is(err, kafka.ErrFatal) || errors.Is(err, event.ErrInvalid) {
		t.Errorf("of none: %v, want a fatal error", err)
	}
	rows, bad, err := d.Decode(context.Background(), block("unknown", "known", "unknown"))
	if err != nil || len(rows) != 1 || len(bad) != 2 {
		t.Errorf("of one: %d rows, %d invalid records, %v", len(rows), len(bad), err)
	}
}
