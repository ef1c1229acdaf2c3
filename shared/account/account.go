// Package account summarises what a store holds so that stores can be compared: counts
// of rows and of distinct keys, and checksums of values.
package account

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Tally counts the rows of one day, one sweep, or all.
type Tally struct {
	Rows     int64  `json:"rows"`
	Distinct int64  `json:"distinct"` // by repo_id and observed_at
	Observed uint64 `json:"observed"` // sums of the checksums of the distinct ones: see Sums
	Details  uint64 `json:"details"`
	Velocity uint64 `json:"velocity"`
	// Reprocessed counts distinct ones whose velocities were recomputed since:
	// Velocity does not include them.
	Reprocessed int64 `json:"reprocessed,omitempty"`
}

// Duplicates returns the number of rows whose key an earlier row has.
func (t Tally) Duplicates() int64 { return t.Rows - t.Distinct }

// Account is what one store holds.
type Account struct {
	Total  Tally
	Repos  int64
	Days   map[string]Tally // by UTC day of observation, YYYY-MM-DD
	Sweeps map[string]Tally // by sweep id
}

// NewAccount returns an empty account.
func NewAccount() *Account { return &Account{Days: map[string]Tally{}, Sweeps: map[string]Tally{}} }

// Counter receives the rows of a store one by one. Of several with one key, the values
// of the first count. sweep may only be used during Add.
type Counter interface {
	Add(key repo.Key, sweep string, sums Sums)
}

const dayMillis = 24 * 60 * 60 * 1000

// dayOf returns the day of an observation, in days since 1970.
func dayOf(key repo.Key) int64 { return key.ObservedAt / dayMillis }

// Listing keeps the rows of some days, to find out which of them differ between
// stores.
type Listing struct {
	Rows map[repo.Key]Row
	days map[int64]bool
}

// Row is what a store holds under one key.
type Row struct {
	Copies int64
	Sums
}

// NewListing returns an empty listing of some days, YYYY-MM-DD.
func NewListing(days []string) *Listing {
	l := &Listing{Rows: map[repo.Key]Row{}, days: map[int64]bool{}}
	for _, d := range days {
		if at, err := time.Parse(time.DateOnly, d); err == nil {
			l.days[at.UnixMilli()/dayMillis] = true
		}
	}
	return l
}

// Add implements Counter.
func (l *Listing) Add(key repo.Key, _ string, sums Sums) {
	if !l.days[dayOf(key)] {
		return
	}
	r, seen := l.Rows[key]
	if !seen {
		r.Sums = sums
	}
	r.Copies++
	l.Rows[key] = r
}
