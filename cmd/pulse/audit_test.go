package main

import (
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/audit"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
)

const noon = 1_767_268_800_000 // 2026-01-01T12:00:00Z

// account counts observations of one sweep, one a repository; a name twice is a
// row twice, one in capitals has other values.
func account(t *testing.T, names string) *audit.Account {
	t.Helper()
	c := audit.NewCount()
	for _, n := range names {
		lower := []rune(strings.ToLower(string(n)))[0]
		c.Add(repo.Key{ID: int64(lower), ObservedAt: noon}, "s", audit.Sums{Observed: uint64(n), Velocity: uint64(n) * 7})
	}
	a, err := c.Account()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnAuditFindsWhateverDiffers(t *testing.T) {
	f := func(base, processed, hot, raw, cold string, truncated bool, ledger int64, want string) {
		t.Helper()
		a := accounts{base: account(t, base), processed: account(t, processed), hot: account(t, hot), raw: account(t, raw), cold: account(t, cold), truncated: truncated}
		lines := map[string][]event.OwnerSwept{}
		if ledger > 0 {
			lines["s"] = []event.OwnerSwept{{SweepID: "s", Seen: ledger, Status: event.StatusComplete}}
		}
		r := &report{}
		r.compare(a, lines)
		if got := strings.Join(r.Differences, "\n"); want == "" && !r.Clean || want != "" && !strings.Contains(got, want) {
			t.Errorf("differences %q, want %q", got, want)
		}
	}
	f("abc", "abc", "abc", "abc", "abc", false, 3, "")
	f("aabc", "abcc", "abc", "abc", "abc", false, 0, "") // repeats in Kafka are none in the stores
	f("abc", "abc", "ab", "abc", "abc", false, 0, "ClickHouse 2")
	f("abc", "abc", "ab", "abc", "abc", false, 0, "day 2026-01-01: ClickHouse lacks 1: ")
	f("abc", "ab", "a", "abc", "ab", false, 0, "github.processed_repos lacks 1, ClickHouse lacks 2, Iceberg processed_repos lacks 1: ")
	f("c", "c", "abc", "abc", "ab", true, 0, "day 2026-01-01: Iceberg processed_repos lacks 1: ")
	f("abc", "abc", "abc", "ab", "abc", false, 0, "raw 2")
	f("abc", "ab", "ab", "abc", "ab", false, 0, "processed 2")
	f("abc", "abc", "abc", "abc", "abcc", false, 0, "Iceberg processed_repos holds 1 rows twice")
	f("abc", "abc", "abC", "abc", "abc", false, 0, "equal in number, not in values")
	f("ab", "ab", "abc", "abc", "abc", false, 0, "Kafka 2") // a row that nobody sent
	f("abc", "abc", "abc", "abc", "abc", false, 4, "4 were seen, 3 are stored")
	f("abc", "abc", "abc", "abc", "abc", false, 2, "") // a page that was read twice
	// Beyond its retention Kafka cannot confirm rows; the stores still can.
	f("c", "", "abc", "abc", "abc", true, 3, "")
	f("c", "c", "abc", "abc", "ab", true, 0, "processed 2")
	f("c", "c", "abC", "abc", "abc", true, 0, "not in values")
	f("abc", "abc", "abC", "abc", "abc", true, 0, "not in values")
}

func TestAnAuditNamesTheRows(t *testing.T) {
	listing := func(names string) *audit.Listing {
		l := audit.NewListing([]string{"2026-01-01"})
		for _, n := range names {
			lower := []rune(strings.ToLower(string(n)))[0]
			l.Add(repo.Key{ID: int64(lower), ObservedAt: noon}, "s", audit.Sums{Observed: uint64(lower), Velocity: uint64(n)})
			l.Add(repo.Key{ID: int64(lower), ObservedAt: noon - dayAgo}, "s", audit.Sums{}) // of another day
		}
		return l
	}
	f := func(kafka, hot, cold string, forgets bool, want ...string) {
		t.Helper()
		got := describe([]holding{
			{store: "Kafka", listing: listing(kafka), velocities: true, repeats: true, truncated: forgets},
			{store: "ClickHouse", listing: listing(hot), velocities: true}, {store: "Iceberg", listing: listing(cold), velocities: true},
		})
		var texts []string
		for _, d := range got {
			texts = append(texts, string(rune(d.RepoID))+" "+d.What)
		}
		if strings.Join(texts, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q, want %q", texts, want)
		}
	}
	f("aab", "ab", "ab", false)
	f("abc", "ab", "abc", false, "c missing in ClickHouse")
	f("abc", "", "a", false, "a missing in ClickHouse", "b missing in ClickHouse and Iceberg", "c missing in ClickHouse and Iceberg")
	f("abc", "abbc", "aBc", false, "b more than once in ClickHouse; other velocities in Iceberg than in Kafka and ClickHouse")
	f("b", "ab", "a", true, "b missing in Iceberg")
}

const dayAgo = 24 * 60 * 60 * 1000
