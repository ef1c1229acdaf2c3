// Package audit compares what the stores hold with what Kafka has: every observation
// once in every table, with the same values.
//
// What a store holds is read from the store itself. Counts and checksums of each day
// and each sweep are compared first; only where those differ are rows looked at.
package audit

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/m7pulse/m7pulse/deadletters"
	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// Table is a table that a sink fills with observations, as it was at one time. What
// was stored later is in no answer.
type Table interface {
	// Describe says what the table is called and what its rows have.
	Describe() Description
	// Account counts all rows.
	Account(ctx context.Context) (*account.Account, error)
	// List passes the rows of some days, YYYY-MM-DD, to a counter. Rows of other days
	// may come too.
	List(ctx context.Context, days []string, to account.Counter) error
}

// Description is what is said of a table.
type Description struct {
	System string // Iceberg
	Name   string // of the table in its system: base_repos; "" if the system has one table
	Label  string // of the table in a column's heading: raw; "" if the system has one table
	// A row has all of an observation, not only what every table has.
	Details bool
	// A row has velocity fields.
	Velocities bool
}

// String is the table's full name: Iceberg base_repos.
func (d Description) String() string { return strings.TrimSpace(d.System + " " + d.Name) }

// Heading is the table's name above a column: Iceberg raw.
func (d Description) Heading() string { return strings.TrimSpace(d.System + " " + d.Label) }

// key is the table's name in JSON: iceberg_raw.
func (d Description) key() string { return strings.ReplaceAll(strings.ToLower(d.Heading()), " ", "_") }

// Moment is what is compared: everything as it was at one time.
type Moment struct {
	Ends    kafka.Offsets // of github.base_repos, github.processed_repos, github.sweeps, github.events and github.signals
	Tables  []Table
	Events  []KeyedTable // of the events of feeds
	Signals []KeyedTable
	// Days, YYYY-MM-DD, whose velocity fields the stores have computed again since
	// Kafka got them: there the stores are compared with each other.
	Reprocessed map[string]bool
}

// Compare audits a moment.
func Compare(ctx context.Context, log Log, at Moment) (*Report, error) {
	r, err := compare(ctx, log, at)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return r, nil
}

func compare(ctx context.Context, log Log, at Moment) (*Report, error) {
	accounts, err := count(ctx, log, at)
	if err != nil {
		return nil, err
	}
	r := newReport(accounts)
	var differences []string
	if r.Events, differences, err = Events(ctx, log, at); err != nil {
		return nil, err
	}
	var more []string
	if r.Signals, more, err = signals(ctx, log, at.Ends, at.Signals); err != nil {
		return nil, err
	}
	differences = append(differences, more...)
	if len(r.Differences) > 0 {
		r.Rows, err = differingRows(ctx, log, at, accounts.truncated, r.firstDiffering(maxRowsRead))
	}
	r.Differences = append(r.Differences, differences...)
	r.Clean = r.Clean && len(differences) == 0
	return r, err
}

// accounts are what Kafka and every table hold, and what Kafka says besides.
type accounts struct {
	base, processed *account.Account // Kafka's two topics
	tables          []tableAccount
	truncated       bool // Kafka's retention has deleted records
	ledger          Ledger
	deadLetters     int64
}

type tableAccount struct {
	Description
	*account.Account
}

// all lists the accounts, Kafka's first.
func (a accounts) all() []*account.Account {
	out := []*account.Account{a.base, a.processed}
	for _, t := range a.tables {
		out = append(out, t.Account)
	}
	return out
}

func count(ctx context.Context, log Log, at Moment) (accounts, error) {
	a := accounts{tables: make([]tableAccount, len(at.Tables))}
	for _, topic := range []string{event.TopicBaseRepos, event.TopicProcessedRepos} {
		truncated, err := kafka.Truncated(ctx, log.Kafka, topic)
		if err != nil {
			return a, err
		}
		a.truncated = a.truncated || truncated
	}
	base, processed := account.NewCount(), account.NewCount()
	processed.Reprocessed(at.Reprocessed)
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error { return log.readBase(within, at.Ends, base) })
	group.Go(func() error { return log.readProcessed(within, at.Ends, processed) })
	group.Go(func() (err error) { a.ledger, err = log.readLedger(within, at.Ends); return err })
	group.Go(func() (err error) { a.deadLetters, err = deadletters.Waiting(within, log.Kafka); return err })
	eachTable(group, at.Tables, func(i int, t Table) (err error) {
		a.tables[i].Description = t.Describe()
		a.tables[i].Account, err = t.Account(within)
		return err
	})
	if err := group.Wait(); err != nil {
		return a, err
	}
	var err error
	if a.base, err = base.Account(); err != nil {
		return a, err
	}
	a.processed, err = processed.Account()
	return a, err
}

// eachTable visits the systems side by side, the tables of one system one after the
// other: each may need much memory.
func eachTable(group *errgroup.Group, tables []Table, visit func(i int, t Table) error) {
	systems := map[string][]int{}
	for i, t := range tables {
		system := t.Describe().System
		systems[system] = append(systems[system], i)
	}
	for _, of := range systems {
		group.Go(func() error {
			for _, i := range of {
				if err := visit(i, tables[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
