package audit

import (
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/account"
)

func TestEventsOfTheStoresAreHeldAgainstKafkaAndEachOther(t *testing.T) {
	of := func(rows, distinct int64, sum uint64) *account.Account {
		a := account.NewAccount()
		a.Total = account.Tally{Rows: rows, Distinct: distinct, Observed: sum}
		if rows > 0 {
			a.Days["2026-06-01"] = a.Total
		}
		return a
	}
	f := func(want string, kafka, hot, cold *account.Account, truncated bool) {
		t.Helper()
		_, differences := compareKeyed("events", kafka, map[string]*account.Account{"ClickHouse": hot, "Iceberg": cold}, truncated)
		if got := strings.Join(differences, "; "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("", of(7, 5, 9), of(5, 5, 9), of(5, 5, 9), false)
	f("", of(0, 0, 0), of(0, 0, 0), of(0, 0, 0), false)
	f("events of 2026-06-01: Iceberg holds 4, Kafka 5", of(5, 5, 9), of(5, 5, 9), of(4, 4, 8), false)
	f("events of 2026-06-01: ClickHouse holds 0, Kafka 5", of(5, 5, 9), of(0, 0, 0), of(5, 5, 9), false)
	f("events of 2026-06-01: Iceberg and Kafka differ in values", of(5, 5, 9), of(5, 5, 9), of(5, 5, 10), false)
	f("events: ClickHouse holds 1 rows twice", of(5, 5, 9), of(6, 5, 9), of(5, 5, 9), false)
	f("", of(2, 2, 3), of(5, 5, 9), of(5, 5, 9), true)
	f("events of 2026-06-01: Iceberg holds 4, ClickHouse 5", of(2, 2, 3), of(5, 5, 9), of(4, 4, 8), true)
	f("events of 2026-06-01: ClickHouse holds 5, Kafka 6; events of 2026-06-01: Iceberg holds 6, ClickHouse 5", of(6, 6, 9), of(5, 5, 9), of(6, 6, 9), true)
}
