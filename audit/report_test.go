package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
)

const noon = 1_767_268_800_000 // 2026-01-01T12:00:00Z

// counted counts observations of one sweep, one a repository; a name twice is a
// row twice, one in capitals has other values.
func counted(t *testing.T, names string) *account.Account {
	t.Helper()
	c := account.NewCount()
	for _, n := range names {
		lower := []rune(strings.ToLower(string(n)))[0]
		c.Add(repo.Key{ID: int64(lower), ObservedAt: noon}, "s", account.Sums{Observed: uint64(n), Velocity: uint64(n) * 7})
	}
	a, err := c.Account()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tables hold the names given for ClickHouse and the two tables of Iceberg.
func tables(t *testing.T, names ...string) (out []tableAccount) {
	t.Helper()
	descriptions := []Description{
		{System: "ClickHouse", Velocities: true}, {System: "Iceberg", Name: "base_repos", Label: "raw", Details: true},
		{System: "Iceberg", Name: "processed_repos", Label: "processed", Details: true, Velocities: true}, {System: "DuckDB"},
	}
	for i, n := range names {
		out = append(out, tableAccount{descriptions[i], counted(t, n)})
	}
	return out
}

func TestAnAuditFindsWhateverDiffers(t *testing.T) {
	f := func(base, processed, hot, raw, cold string, truncated bool, ledger int64, want string) {
		t.Helper()
		a := accounts{base: counted(t, base), processed: counted(t, processed), tables: tables(t, hot, raw, cold), truncated: truncated}
		if ledger > 0 {
			a.ledger = Ledger{"s": {{SweepID: "s", Seen: ledger, Status: event.StatusComplete}}}
		}
		r := newReport(a)
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

// TestAnotherTableIsAuditedLikeTheOthers: a sink that is added is one more element of
// a list.
func TestAnotherTableIsAuditedLikeTheOthers(t *testing.T) {
	r := newReport(accounts{base: counted(t, "abc"), processed: counted(t, "abc"), tables: tables(t, "abc", "abc", "abc", "abb")})
	want := []string{
		"DuckDB holds 1 rows twice",
		"day 2026-01-01: DuckDB lacks 1: Kafka 3, processed 3, ClickHouse 3, Iceberg raw 3, processed 3, DuckDB 2",
		"sweep s: DuckDB lacks 1: Kafka 3, processed 3, ClickHouse 3, Iceberg raw 3, processed 3, DuckDB 2",
	}
	if !slices.Equal(r.Differences, want) {
		t.Errorf("differences %q, want %q", r.Differences, want)
	}
	if got := r.firstDiffering(1); !slices.Equal(got, []string{"2026-01-01"}) {
		t.Errorf("rows are looked for on %q", got)
	}
}

func TestAReportInJSONHasAFieldForEachTable(t *testing.T) {
	a := accounts{base: counted(t, "aab"), processed: counted(t, "ab"), tables: tables(t, "ab", "ab", "ab"), deadLetters: 4}
	a.ledger = Ledger{"s": {{SweepID: "s", Seen: 2, Expected: new(int64(3)), Status: event.StatusIncomplete}}}
	r := newReport(a)
	r.Events = &Keyed{Kafka: 5, Records: 7, Tables: map[string]int64{"ClickHouse": 5, "Iceberg": 5}}
	r.Signals = &Keyed{Kafka: 3, Records: 3, Tables: map[string]int64{"ClickHouse": 3, "Iceberg": 3}}
	r.FeedGaps = &sinkclickhouse.FeedGaps{Gaps: 2, Repositories: 1, Newest: &sinkclickhouse.FeedGap{Repository: "acme/tool", To: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	text, err := json.Marshal(r)
	group := `"kafka":2,"clickhouse":2,"iceberg_raw":2,"iceberg_processed":2,"equal":true`
	want := `{"observations":2,"kafka":2,"kafka_records":3,"processed":2,"clickhouse":2,"iceberg_raw":2,"iceberg_processed":2,` +
		`"events":{"kafka":5,"kafka_records":7,"tables":{"ClickHouse":5,"Iceberg":5}},"signals":{"kafka":3,"kafka_records":3,"tables":{"ClickHouse":3,"Iceberg":3}},"feed_gaps":{"gaps":2,"repositories":1,"newest":{"repository":"acme/tool","from":null,"to":"2026-01-01T00:00:00Z","reason":null}},"repos":2,"duplicates":0,"dead_letters":4,"expired":0,"clean":true,"differences":[],"rows":[],` +
		`"sweeps":[{"name":"s",` + group + `,"status":"incomplete","expected":3,"seen":2}],"failed_sweeps":[],"days":[{"name":"2026-01-01",` + group + `}]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v; want %s", text, err, want)
	}
}

func TestAnAuditNamesTheRows(t *testing.T) {
	listing := func(names string) *account.Listing {
		l := account.NewListing([]string{"2026-01-01"})
		for _, n := range names {
			lower := []rune(strings.ToLower(string(n)))[0]
			l.Add(repo.Key{ID: int64(lower), ObservedAt: noon}, "s", account.Sums{Observed: uint64(lower), Velocity: uint64(n)})
			l.Add(repo.Key{ID: int64(lower), ObservedAt: noon - dayAgo}, "s", account.Sums{}) // of another day
		}
		return l
	}
	f := func(kafka, hot, cold string, forgets bool, want ...string) {
		t.Helper()
		got := describe([]holding{
			{name: "Kafka", listing: listing(kafka), velocities: true, repeats: true, truncated: forgets},
			{name: "ClickHouse", listing: listing(hot), velocities: true}, {name: "Iceberg", listing: listing(cold), velocities: true},
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
