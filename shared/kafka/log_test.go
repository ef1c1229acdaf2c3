package kafka_test

import (
	"testing"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

func TestOneRecordIsReadFromItsPlace(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in")
	produce(t, cfg, "in", 0, 10)
	p := kafka.Partition{Topic: "in"}
	r, err := kafka.ReadAt(t.Context(), cfg, p, 7)
	if err != nil || string(r.Value) != "7" {
		t.Errorf("%v, %v: want the record at 7", r, err)
	}
	for _, offset := range []int64{10, 1000} {
		if _, err := kafka.ReadAt(t.Context(), cfg, p, offset); err == nil {
			t.Errorf("a record is read at %d, behind the end", offset)
		}
	}
}

func TestRecordsAreDeletedUpToAnOffset(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in")
	produce(t, cfg, "in", 0, 10)
	p := kafka.Partition{Topic: "in"}
	for _, c := range []struct{ before, deleted int64 }{{4, 4}, {4, 0}, {2, 0}, {10, 6}, {10, 0}} {
		if n, err := kafka.DeleteBefore(t.Context(), cfg, kafka.Offsets{p: c.before}); err != nil || n != c.deleted {
			t.Errorf("before %d: %d, %v; want %d", c.before, n, err, c.deleted)
		}
	}
	starts, err := kafka.Starts(t.Context(), cfg, "in")
	if err != nil || starts[p] != 10 {
		t.Errorf("it starts at %v, %v; want 10", starts, err)
	}
	if _, err := kafka.ReadAt(t.Context(), cfg, p, 9); err == nil {
		t.Error("a deleted record is read")
	}
	if ends, err := kafka.Ends(t.Context(), cfg, "in"); err != nil || ends[p] < 12 {
		t.Errorf("it ends at %v, %v: want something behind what was deleted", ends, err)
	}
}
