package audit

import (
	"testing"

	"github.com/m7pulse/m7pulse/shared/event"
)

func TestAFailedSweepMakesAnAuditUnclean(t *testing.T) {
	a := accounts{base: counted(t, "abc"), processed: counted(t, "abc"), tables: tables(t, "abc", "abc", "abc"), ledger: Ledger{}}
	line := func(id, owner, status string) event.OwnerSwept {
		return event.OwnerSwept{SweepID: id, Owner: owner, Status: status, Reason: new("bad credentials")}
	}
	add := func(l event.OwnerSwept) { a.ledger[l.SweepID] = append(a.ledger[l.SweepID], l) }
	check := func(want ...string) {
		t.Helper()
		r := newReport(a)
		if len(r.FailedSweeps) != len(want) || r.Clean != (len(want) == 0) || len(r.Differences) != 0 {
			t.Fatalf("failed %+v, clean %v, differences %q; want %q failed", r.FailedSweeps, r.Clean, r.Differences, want)
		}
		for i, f := range r.FailedSweeps {
			if f.Owner != want[i] || f.Reason != "bad credentials" {
				t.Errorf("failed: %+v, want %s", f, want[i])
			}
		}
	}
	add(line("2026-01-01T10:00:00Z", "acme", event.StatusComplete))
	add(line("2026-01-01T10:00:00Z", "Jane", event.StatusIncomplete))
	check()
	add(line("2026-01-01T11:00:00Z", "acme", event.StatusFailed))
	add(line("2026-01-01T11:00:00Z", "jane", event.StatusFailed))
	check("acme", "jane")
	add(line("2026-01-01T11:20:00Z", "Acme", event.StatusComplete)) // tried again
	check("jane")
	add(line("2026-01-02T12:00:00Z", "Acme", event.StatusComplete)) // jane is swept no more
	check()
}
