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
