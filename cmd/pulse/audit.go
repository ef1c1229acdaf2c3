package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sync/errgroup"

	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	"github.com/m7pulse/m7pulse/shared/audit"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

type auditCommand struct {
	JSON    bool          `help:"Print JSON."`
	Wait    bool          `help:"First wait until running replays have ended and no stage has work left."`
	Timeout time.Duration `default:"10m" help:"Longest wait."`
}

// Run compares the stores and fails on any difference, and on a failed sweep.
func (a *auditCommand) Run(ctx context.Context, p *place) error {
	env, err := p.addresses()
	if err != nil {
		return err
	}
	s, err := openStores(ctx, env)
	if err != nil {
		return err
	}
	defer s.close()
	at, err := a.look(ctx, s, p.home, env)
	if err != nil {
		return err
	}
	report, err := s.audit(ctx, at)
	if err != nil {
		return err
	}
	if a.JSON {
		err = printJSON(report)
	} else {
		report.print()
	}
	if err == nil && !report.Clean {
		err = exitStatus(1)
	}
	return err
}

// look takes the snapshot that is audited, with --wait one in which no stage has
// work left. A sweep may go on meanwhile: what it adds later is left out.
func (a *auditCommand) look(ctx context.Context, s *stores, home stack.Home, env map[string]string) (*snapshot, error) {
	if !a.Wait {
		return s.takeSnapshot(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	return s.waitAtRest(waiting, home, stack.NewControl(env))
}

// report is the outcome of an audit.
type report struct {
	Observations     int64              `json:"observations"` // distinct: what every store must hold
	Kafka            int64              `json:"kafka"`
	KafkaRecords     int64              `json:"kafka_records"` // with repeats
	Processed        int64              `json:"processed"`     // distinct, computed by aggregate
	ClickHouse       int64              `json:"clickhouse"`
	IcebergRaw       int64              `json:"iceberg_raw"`
	IcebergProcessed int64              `json:"iceberg_processed"`
	Repos            int64              `json:"repos"`
	Duplicates       int64              `json:"duplicates"` // surplus rows, in any store
	DeadLetters      int64              `json:"dead_letters"`
	Expired          int64              `json:"expired"` // observations beyond Kafka's retention: compared only between the stores
	Clean            bool               `json:"clean"`   // no differences and no failed sweeps
	Differences      []string           `json:"differences"`
	Rows             []differing        `json:"rows"` // which rows differ, the first of them
	Sweeps           []sweepReport      `json:"sweeps"`
	FailedSweeps     []fetchorg.Failure `json:"failed_sweeps"` // of owners whose last one failed
	Days             []groupReport      `json:"days"`
}

// groupReport compares the stores over one day or sweep.
type groupReport struct {
	Name             string `json:"name"`
	Kafka            int64  `json:"kafka"`
	ClickHouse       int64  `json:"clickhouse"`
	IcebergRaw       int64  `json:"iceberg_raw"`
	IcebergProcessed int64  `json:"iceberg_processed"`
	Equal            bool   `json:"equal"` // in number and in values, each once in every store

	stored int64 // the most that any store holds
}

type sweepReport struct {
	groupReport
	Status   string `json:"status"` // of its ledger; "unknown" without one
	Expected *int64 `json:"expected"`
	Seen     *int64 `json:"seen"`
}

// accounts are what every store holds.
type accounts struct {
	base, processed, hot, raw, cold *audit.Account
	truncated                       bool // Kafka's retention has deleted records
}

// audit compares what the stores held at one time.
func (s *stores) audit(ctx context.Context, at *snapshot) (*report, error) {
	var a accounts
	var ledger map[string][]event.OwnerSwept
	r := &report{Differences: []string{}, Rows: []differing{}}
	base, processed, raw, cold := audit.NewCount(), audit.NewCount(), audit.NewCount(), audit.NewCount()
	reprocessed, err := sinkiceberg.Reprocessed(ctx, s.cold)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	processed.Reprocessed(reprocessed)
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error { return audit.ReadBase(within, s.kafka, at.ends, s.codec, s.purged, base) })
	group.Go(func() error { return audit.ReadProcessed(within, s.kafka, at.ends, s.codec, s.purged, processed) })
	group.Go(func() (err error) {
		ledger, err = audit.LedgerTo(within, s.kafka, at.ends, s.codec, s.purged)
		return err
	})
	group.Go(func() (err error) { r.DeadLetters, err = audit.DeadLetters(within, s.kafka); return err })
	group.Go(func() (err error) { a.hot, err = sinkclickhouse.AccountTo(within, s.hot, at.hot); return err })
	group.Go(func() error {
		return errors.Join(at.raw.Account(within, nil, raw), at.cold.Account(within, nil, cold))
	})
	for _, topic := range []string{event.TopicBaseRepos, event.TopicProcessedRepos} {
		truncated, err := kafka.Truncated(ctx, s.kafka, topic)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("audit: %w", err), group.Wait())
		}
		a.truncated = a.truncated || truncated
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	for _, of := range []struct {
		count *audit.Count
		to    **audit.Account
	}{{base, &a.base}, {processed, &a.processed}, {raw, &a.raw}, {cold, &a.cold}} {
		if *of.to, err = of.count.Account(); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	r.compare(a, ledger)
	if len(r.Differences) == 0 {
		return r, nil
	}
	days := r.firstDiffering(maxRowsRead)
	if r.Rows, err = s.differingRows(ctx, at, days, a.truncated); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return r, nil
}

func (r *report) compare(a accounts, ledger map[string][]event.OwnerSwept) {
	r.Kafka, r.KafkaRecords = a.base.Total.Distinct, a.base.Total.Rows
	r.Observations, r.Repos = r.Kafka, a.base.Repos
	if a.truncated {
		r.Observations, r.Repos = max(r.Kafka, a.raw.Total.Distinct), max(r.Repos, a.raw.Repos)
		r.Expired = r.Observations - r.Kafka
	}
	r.Processed = a.processed.Total.Distinct
	r.ClickHouse, r.IcebergRaw, r.IcebergProcessed = a.hot.Total.Distinct, a.raw.Total.Distinct, a.cold.Total.Distinct
	r.Duplicates = a.hot.Total.Duplicates() + a.raw.Total.Duplicates() + a.cold.Total.Duplicates()

	differ := func(format string, args ...any) { r.Differences = append(r.Differences, fmt.Sprintf(format, args...)) }
	for _, d := range []struct {
		store      string
		duplicates int64
	}{{"ClickHouse", a.hot.Total.Duplicates()}, {"Iceberg base_repos", a.raw.Total.Duplicates()}, {"Iceberg processed_repos", a.cold.Total.Duplicates()}} {
		if d.duplicates != 0 {
			differ("%s holds %d rows twice", d.store, d.duplicates)
		}
	}
	groups := func(of func(*audit.Account) map[string]audit.Tally, kind string) []groupReport {
		names := map[string]bool{}
		for _, acc := range []*audit.Account{a.base, a.processed, a.hot, a.raw, a.cold} {
			for n := range of(acc) {
				names[n] = true
			}
		}
		var out []groupReport
		for _, n := range slices.Sorted(maps.Keys(names)) {
			base, processed, hot, raw, cold := of(a.base)[n], of(a.processed)[n], of(a.hot)[n], of(a.raw)[n], of(a.cold)[n]
			g := groupReport{Name: n, Kafka: base.Distinct, ClickHouse: hot.Distinct, IcebergRaw: raw.Distinct, IcebergProcessed: cold.Distinct}
			g.stored = max(hot.Distinct, raw.Distinct, cold.Distinct)
			observed, details, velocity := []audit.Tally{raw, hot, cold}, []audit.Tally{raw, cold}, []audit.Tally{hot, cold}
			// Kafka cannot confirm what its retention has deleted.
			if !a.truncated || base.Distinct >= g.stored {
				observed, details = append(observed, base), append(details, base)
			}
			if !a.truncated || processed.Distinct >= g.stored {
				observed, details = append(observed, processed), append(details, processed)
				if processed.Reprocessed == 0 {
					velocity = append(velocity, processed)
				}
			}
			g.Equal = sameObserved(observed) && sameDetails(details) && sameVelocity(velocity)
			if !g.Equal {
				differ("%s %s: %sKafka %d, processed %d, ClickHouse %d, Iceberg raw %d, processed %d%s", kind, n,
					missingFrom(a.truncated, base, processed, hot, raw, cold),
					base.Distinct, processed.Distinct, hot.Distinct, raw.Distinct, cold.Distinct, sameCount(observed))
			}
			if hot.Duplicates()+raw.Duplicates()+cold.Duplicates() != 0 {
				g.Equal = false // reported above, for the whole store
			}
			out = append(out, g)
		}
		return out
	}
	r.Days = groups(func(acc *audit.Account) map[string]audit.Tally { return acc.Days }, "day")
	for _, g := range groups(func(acc *audit.Account) map[string]audit.Tally { return acc.Sweeps }, "sweep") {
		r.Sweeps = append(r.Sweeps, withLedger(g, ledger[g.Name]))
	}
	for _, name := range slices.Sorted(maps.Keys(ledger)) {
		var seen, stored int64
		for _, l := range ledger[name] {
			seen += l.Seen
		}
		for _, g := range r.Sweeps {
			if g.Name == name {
				stored = max(g.Kafka, g.stored)
			}
		}
		if stored < seen { // there may be more: a page that was read twice gives two observations
			differ("sweep %s: the ledger says that %d were seen, %d are stored", name, seen, stored)
		}
	}
	r.FailedSweeps = failedIn(ledger)
	r.Clean = len(r.Differences)+len(r.FailedSweeps) == 0
}

// missingFrom says how many observations of a group each store lacks. Kafka is left
// out if its retention has deleted records.
func missingFrom(truncated bool, base, processed, hot, raw, cold audit.Tally) string {
	most := max(base.Distinct, processed.Distinct, hot.Distinct, raw.Distinct, cold.Distinct)
	var found []string
	for _, s := range []struct {
		name    string
		tally   audit.Tally
		forgets bool
	}{{"github.base_repos", base, truncated}, {"github.processed_repos", processed, truncated}, {"ClickHouse", hot, false}, {"Iceberg base_repos", raw, false}, {"Iceberg processed_repos", cold, false}} {
		if missing := most - s.tally.Distinct; missing > 0 && !s.forgets {
			found = append(found, fmt.Sprintf("%s lacks %d", s.name, missing))
		}
	}
	if len(found) == 0 {
		return ""
	}
	return strings.Join(found, ", ") + ": "
}

func sameObserved(all []audit.Tally) bool {
	for _, t := range all[1:] {
		if t.Distinct != all[0].Distinct || t.Observed != all[0].Observed {
			return false
		}
	}
	return true
}

func sameDetails(all []audit.Tally) bool {
	for _, t := range all[1:] {
		if t.Details != all[0].Details {
			return false
		}
	}
	return true
}

func sameVelocity(all []audit.Tally) bool {
	for _, t := range all[1:] {
		if t.Velocity != all[0].Velocity {
			return false
		}
	}
	return true
}

func sameCount(all []audit.Tally) string {
	for _, t := range all[1:] {
		if t.Distinct != all[0].Distinct {
			return ""
		}
	}
	return ": equal in number, not in values"
}

// withLedger adds to what was stored what the sweep's ledger says it saw. A sweep
// without ledger lines has the status "unknown", which is not a difference.
func withLedger(g groupReport, lines []event.OwnerSwept) sweepReport {
	s := sweepReport{groupReport: g, Status: "unknown"}
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

// shown is how many differences and rows are printed; JSON has more.
const shown = 20

func (r *report) print() {
	t := newTable("Observations", "Kafka", "ClickHouse", "Iceberg raw", "Iceberg processed", "Repositories", "Duplicates", "Dead letters")
	t.AppendRow(table.Row{count(r.Observations), count(r.Kafka), count(r.ClickHouse), count(r.IcebergRaw), count(r.IcebergProcessed), count(r.Repos), count(r.Duplicates), count(r.DeadLetters)})
	t.Render()
	if r.Expired > 0 {
		fmt.Printf("Kafka's retention has deleted %s observations; those are compared between the stores only.\n", count(r.Expired))
	}
	printFailed(r.FailedSweeps)
	if len(r.Differences) == 0 {
		verdict := "Audit clean"
		if !r.Clean {
			verdict = "AUDIT NOT CLEAN, though the stores agree"
		}
		fmt.Printf("%s: every observation once in every store, all counters, texts, velocities and flags equal by checksum, on %d days.\n", verdict, len(r.Days))
		return
	}
	fmt.Printf("AUDIT NOT CLEAN: %d differences\n", len(r.Differences))
	for i, d := range r.Differences {
		if i == shown {
			fmt.Printf("  … and %d more (--json has them all)\n", len(r.Differences)-i)
			break
		}
		fmt.Println("  " + visible(d))
	}
	if len(r.Rows) == 0 {
		return
	}
	fmt.Println("Rows that differ:")
	for i, d := range r.Rows {
		if i == shown {
			fmt.Printf("  … and %d more in --json\n", len(r.Rows)-i)
			break
		}
		fmt.Printf("  repository %d at %s: %s\n", d.RepoID, d.ObservedAt.Format(time.RFC3339Nano), d.What)
	}
}
