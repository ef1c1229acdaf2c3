package events_test

import (
	"fmt"
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

// Feeds are read while an audit runs.
func TestEventsThatAreStoredAfterAnAuditBeganAreNotCounted(t *testing.T) {
	conn, err := sinkclickhouse.Open(store.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	day := time.Date(2019, 3, 4, 0, 0, 0, 0, time.UTC)
	happen := func(id int) {
		t.Helper()
		if _, err := store.Ask(t.Context(), fmt.Sprintf(`INSERT INTO pulse.github_events (event_type, event_id, created_at, repo_id, name_with_owner, owner, observed_at, source)
			VALUES ('PushEvent', %d, '%s', 77, 'late/late', 'late', '2019-03-04', 'rest')`, id, day.Add(time.Duration(id)*time.Hour).Format(time.DateTime))); err != nil {
			t.Fatal(err)
		}
	}
	count := func(at time.Time) int64 {
		t.Helper()
		found, err := sinkclickhouse.AccountEvents(t.Context(), conn, at)
		if err != nil {
			t.Fatal(err)
		}
		return found.Days[day.Format(time.DateOnly)].Rows
	}
	happen(1)
	began, err := sinkclickhouse.Now(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	happen(2)
	if n := count(began); n != 1 {
		t.Errorf("%d events at the beginning, want 1", n)
	}
	later, err := sinkclickhouse.Now(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(later); n != 2 {
		t.Errorf("%d events later, want 2", n)
	}
}
