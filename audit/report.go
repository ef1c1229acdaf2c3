package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
)

// Report is the outcome of an audit. In JSON each table's count is a field of its own.
type Report struct {
	Observations int64 // distinct: what every table must hold
	Kafka        int64 // distinct, in github.base_repos
	KafkaRecords int64 // with repeats
	Processed    int64 // distinct, in github.processed_repos
	Tables       []Held
	Events       *Keyed                   // of feeds; nil if nobody looked
	Signals      *Keyed                   // likewise
	FeedGaps     *sinkclickhouse.FeedGaps // likewise; what GitHub lost before it was read is no difference
	Repos        int64
	Duplicates   int64 // surplus rows, in any table
	DeadLetters  int64 // that wait
	Expired      int64 // observations beyond Kafka's retention: compared only between the tables
	Clean        bool  // no differences and no failed sweeps
	Differences  []string
	Rows         []Row // which rows differ, the first of them
	Sweeps       []Sweep
	FailedSweeps []sweep.Failure // of owners whose last one failed
	Days         []Group
}

// Held is how many observations a table holds.
type Held struct {
	Description
	Distinct int64
}

// Group compares the tables over one day or sweep.
type Group struct {
	Name   string
	Kafka  int64
	Tables []Held
	Equal  bool // in number and in values, each once in every table
}

// stored is the most that any table holds.
func (g Group) stored() (most int64) {
	for _, t := range g.Tables {
		most = max(most, t.Distinct)
	}
	return most
}

// Sweep is a group beside what the ledger says.
type Sweep struct {
	Group
	Status   string // of its ledger; "unknown" without one
	Expected *int64
	Seen     *int64
}

// newReport compares what Kafka and the tables hold.
func newReport(a accounts) *Report {
	r := &Report{
		Observations: a.base.Total.Distinct, Kafka: a.base.Total.Distinct, KafkaRecords: a.base.Total.Rows, Processed: a.processed.Total.Distinct,
		Repos: a.base.Repos, DeadLetters: a.deadLetters, Differences: []string{}, Rows: []Row{},
	}
	for _, t := range a.tables {
		r.Tables = append(r.Tables, Held{t.Description, t.Total.Distinct})
		if a.truncated {
			r.Observations, r.Repos = max(r.Observations, t.Total.Distinct), max(r.Repos, t.Repos)
		}
		if n := t.Total.Duplicates(); n != 0 {
			r.Duplicates += n
			r.differ("%s holds %d rows twice", t.Description, n)
		}
	}
	r.Expired = r.Observations - r.Kafka
	r.Days = r.groups(a, "day", func(of *account.Account) map[string]account.Tally { return of.Days })
	for _, g := range r.groups(a, "sweep", func(of *account.Account) map[string]account.Tally { return of.Sweeps }) {
		r.Sweeps = append(r.Sweeps, withLedger(g, a.ledger[g.Name]))
	}
	for _, name := range slices.Sorted(maps.Keys(a.ledger)) {
		var seen, stored int64
		for _, l := range a.ledger[name] {
			seen += l.Seen
		}
		for _, g := range r.Sweeps {
			if g.Name == name {
				stored = max(g.Kafka, g.stored())
			}
		}
		if stored < seen { // there may be more: a page that was read twice gives two observations
			r.differ("sweep %s: the ledger says that %d were seen, %d are stored", name, seen, stored)
		}
	}
	r.FailedSweeps = a.ledger.Failed()
	r.Clean = len(r.Differences)+len(r.FailedSweeps) == 0
	return r
}

func (r *Report) differ(format string, args ...any) {
	r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
}

// groups compares all days or all sweeps.
func (r *Report) groups(a accounts, kind string, of func(*account.Account) map[string]account.Tally) []Group {
	names := map[string]bool{}
	for _, one := range a.all() {
		for n := range of(one) {
			names[n] = true
		}
	}
	var out []Group
	for _, n := range slices.Sorted(maps.Keys(names)) {
		base, processed := of(a.base)[n], of(a.processed)[n]
		g := Group{Name: n, Kafka: base.Distinct}
		var observed, details, velocities []account.Tally
		twice := false
		for _, t := range a.tables {
			tally := of(t.Account)[n]
			g.Tables = append(g.Tables, Held{t.Description, tally.Distinct})
			twice = twice || tally.Duplicates() != 0
			observed = append(observed, tally)
			if t.Details {
				details = append(details, tally)
			}
			if t.Velocities {
				velocities = append(velocities, tally)
			}
		}
		// Kafka cannot confirm what its retention has deleted.
		if !a.truncated || base.Distinct >= g.stored() {
			observed, details = append(observed, base), append(details, base)
		}
		if !a.truncated || processed.Distinct >= g.stored() {
			observed, details = append(observed, processed), append(details, processed)
			if processed.Reprocessed == 0 {
				velocities = append(velocities, processed)
			}
		}
		sameNumber := same(observed, func(t account.Tally) int64 { return t.Distinct })
		g.Equal = sameNumber && same(observed, func(t account.Tally) uint64 { return t.Observed }) &&
			same(details, func(t account.Tally) uint64 { return t.Details }) && same(velocities, func(t account.Tally) uint64 { return t.Velocity })
		if !g.Equal {
			r.differ("%s %s: %s%s%s", kind, n, missingFrom(a.truncated, base, processed, g.Tables), counts(base, processed, g.Tables), notInValues(sameNumber))
		}
		if twice {
			g.Equal = false // reported above, for the whole table
		}
		out = append(out, g)
	}
	return out
}

// same says whether all tallies have one value.
func same[V comparable](all []account.Tally, value func(account.Tally) V) bool {
	for _, t := range all {
		if value(t) != value(all[0]) {
			return false
		}
	}
	return true
}

// counts says how many observations Kafka's topics and every table hold. A system is
// named once: Iceberg raw 3, processed 3.
func counts(base, processed account.Tally, tables []Held) string {
	text := fmt.Sprintf("Kafka %d, processed %d", base.Distinct, processed.Distinct)
	system := ""
	for _, t := range tables {
		name := t.Heading()
		if t.System == system {
			name = t.Label
		}
		system = t.System
		text += fmt.Sprintf(", %s %d", name, t.Distinct)
	}
	return text
}

func notInValues(sameNumber bool) string {
	if sameNumber {
		return ": equal in number, not in values"
	}
	return ""
}

// missingFrom says how many observations of a group each topic and table lacks. Kafka
// is left out if its retention has deleted records.
func missingFrom(truncated bool, base, processed account.Tally, tables []Held) string {
	type holder struct {
		name     string
		distinct int64
	}
	var holders []holder
	most := max(base.Distinct, processed.Distinct)
	if !truncated {
		holders = append(holders, holder{event.TopicBaseRepos, base.Distinct}, holder{event.TopicProcessedRepos, processed.Distinct})
	}
	for _, t := range tables {
		most = max(most, t.Distinct)
		holders = append(holders, holder{t.String(), t.Distinct})
	}
	var found []string
	for _, h := range holders {
		if missing := most - h.distinct; missing > 0 {
			found = append(found, fmt.Sprintf("%s lacks %d", h.name, missing))
		}
	}
	if len(found) == 0 {
		return ""
	}
	return strings.Join(found, ", ") + ": "
}

// withLedger adds to what was stored what the sweep's ledger says it saw. A sweep
// without ledger lines has the status "unknown", which is not a difference.
func withLedger(g Group, lines []event.OwnerSwept) Sweep {
	s := Sweep{Group: g, Status: "unknown"}
	if len(lines) == 0 {
		return s
	}
	var expected, seen int64
	s.Status = event.StatusComplete
	known := true
	for _, l := range lines {
		seen += l.Seen
		if l.Expected == nil {
			known = false
		} else {
			expected += *l.Expected
		}
		if l.Status != event.StatusComplete {
			s.Status = event.StatusIncomplete
		}
	}
	s.Seen = &seen
	if known {
		s.Expected = &expected
	}
	return s
}

// MarshalJSON writes the report with a field for each table.
func (r Report) MarshalJSON() ([]byte, error) {
	return object(
		entry{"observations", r.Observations}, entry{"kafka", r.Kafka}, entry{"kafka_records", r.KafkaRecords}, entry{"processed", r.Processed},
		r.Tables, entry{"events", r.Events}, entry{"signals", r.Signals}, entry{"feed_gaps", r.FeedGaps}, entry{"repos", r.Repos}, entry{"duplicates", r.Duplicates}, entry{"dead_letters", r.DeadLetters}, entry{"expired", r.Expired}, entry{"clean", r.Clean},
		entry{"differences", r.Differences}, entry{"rows", r.Rows}, entry{"sweeps", r.Sweeps}, entry{"failed_sweeps", r.FailedSweeps}, entry{"days", r.Days},
	)
}

// MarshalJSON writes the group with a field for each table.
func (g Group) MarshalJSON() ([]byte, error) { return object(g.entries()...) }

func (g Group) entries() []any {
	return []any{entry{"name", g.Name}, entry{"kafka", g.Kafka}, g.Tables, entry{"equal", g.Equal}}
}

// MarshalJSON writes the sweep as its group is written, with more fields.
func (s Sweep) MarshalJSON() ([]byte, error) {
	return object(append(s.entries(), entry{"status", s.Status}, entry{"expected", s.Expected}, entry{"seen", s.Seen})...)
}

// entry is one field of an object in JSON.
type entry struct {
	name  string
	value any
}

// object is a JSON object whose fields are entries, and the tables of lists of Held,
// in their order.
func object(of ...any) ([]byte, error) {
	var entries []entry
	for _, o := range of {
		switch o := o.(type) {
		case entry:
			entries = append(entries, o)
		case []Held:
			for _, t := range o {
				entries = append(entries, entry{t.key(), t.Distinct})
			}
		}
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i, e := range entries {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "%q:", e.name)
		value, err := json.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		out.Write(value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}
