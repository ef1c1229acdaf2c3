package kafka_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// A dead letter's record is sent again with its old timestamp, from which kgo would
// count the delivery timeout.
func TestTransactorWritesRecordsOfLongAgo(t *testing.T) {
	t.Parallel()
	cfg := cluster(t, 1, "in")
	client, err := kafka.NewTransactor(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	ago := time.Now().AddDate(0, -2, 0)
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("x"), Timestamp: ago}).FirstErr(); err != nil {
		t.Errorf("a record of two months ago: %v", err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := records(t, cfg, "in"); len(got) != 1 {
		t.Errorf("%d records are written, want 1", len(got))
	}
}
