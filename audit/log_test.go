package audit_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/audit"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka/kafkatest"
)

// TestNewestLedgerLineIsTheOneFinishedLast whichever partition it is in.
func TestNewestLedgerLineIsTheOneFinishedLast(t *testing.T) {
	cfg, put := kafkatest.Broker(t, 2, event.TopicSweeps)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	codec, err := event.NewCodec(registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	line := func(partition int32, owner string, minute int) {
		t.Helper()
		r, err := codec.Record(t.Context(), &event.OwnerSwept{
			SweepID: "s", Owner: owner, Status: event.StatusComplete, StartedAt: at, FinishedAt: at.Add(time.Duration(minute) * time.Minute),
		}, false)
		if err != nil {
			t.Fatal(err)
		}
		put(partition, r)
	}
	line(0, "a", 9)
	line(1, "a", 1)
	line(0, "b", 1)
	line(1, "b", 9)
	ledger, err := audit.Log{Kafka: cfg, Codec: codec}.Ledger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(ledger["s"]) != 2 {
		t.Errorf("%d lines, want one of each owner", len(ledger["s"]))
	}
	for _, l := range ledger["s"] {
		if minute := l.FinishedAt.Sub(at).Minutes(); minute != 9 {
			t.Errorf("the newest line of %s is that of minute %v", l.Owner, minute)
		}
	}
}
