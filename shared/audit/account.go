// Package audit says what a store holds in a form that can be compared with
// what another store holds: counts by distinct key, and checksums of values.
package audit

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Tally counts the rows of one day, one sweep, or all.
type Tally struct {
	Rows     int64  `json:"rows"`
	Distinct int64  `json:"distinct"` // by repo_id and observed_at
	Observed uint64 `json:"observed"` // sum of Observed checksums of the distinct ones
	Velocity uint64 `json:"velocity"` // sum of Velocity checksums of the distinct ones; 0 where there are none
	// Reprocessed are distinct ones whose velocities were computed anew since:
	// Velocity lacks them.
	Reprocessed int64 `json:"reprocessed,omitempty"`
}

// Duplicates are the rows that a store has too many.
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

// Counter is told the rows of a store one by one. Of several with one key the
// first is the one whose values count. sweep is the counter's only during Add.
type Counter interface {
	Add(key repo.Key, sweep string, observed, velocity uint64)
}

// Count makes an account. It remembers of every key a hash of 64 bits, in about
// 20 bytes: at ten million keys two are taken for one once in 370,000 audits,
// which then shows a difference that is none.
type Count struct {
	keys   map[uint64]struct{}
	repos  map[int64]struct{}
	total  Tally
	days   map[int64]*Tally // by days since 1970
	sweeps map[string]*Tally

	reprocessed map[int64]bool
}

// NewCount returns a count of nothing yet.
func NewCount() *Count {
	return &Count{keys: map[uint64]struct{}{}, repos: map[int64]struct{}{}, days: map[int64]*Tally{}, sweeps: map[string]*Tally{}}
}

// Reprocessed has the count leave out the velocities of some days, YYYY-MM-DD: the
// stores hold others there, computed anew since.
func (c *Count) Reprocessed(days map[string]bool) {
	c.reprocessed = map[int64]bool{}
	for d := range days {
		if at, err := time.Parse(time.DateOnly, d); err == nil {
			c.reprocessed[at.UnixMilli()/dayMillis] = true
		}
	}
}

const dayMillis = 24 * 60 * 60 * 1000

// dayOf is the day of an observation, in days since 1970. Nothing of GitHub is
// older.
func dayOf(key repo.Key) int64 { return key.ObservedAt / dayMillis }

// Add implements Counter.
func (c *Count) Add(key repo.Key, sweep string, observed, velocity uint64) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], uint64(key.ID))
	binary.LittleEndian.PutUint64(b[8:], uint64(key.ObservedAt))
	hash := xxhash.Sum64(b[:])
	_, seen := c.keys[hash]
	if !seen {
		c.keys[hash] = struct{}{}
		c.repos[key.ID] = struct{}{}
	}
	day := dayOf(key)
	if c.days[day] == nil {
		c.days[day] = &Tally{}
	}
	if c.sweeps[sweep] == nil {
		c.sweeps[strings.Clone(sweep)] = &Tally{}
	}
	for _, t := range [...]*Tally{&c.total, c.days[day], c.sweeps[sweep]} {
		t.Rows++
		if !seen {
			t.Distinct++
			t.Observed += observed
			if c.reprocessed[day] {
				t.Reprocessed++
			} else {
				t.Velocity += velocity
			}
		}
	}
}

// Account is what was counted.
func (c *Count) Account() *Account {
	a := NewAccount()
	a.Total, a.Repos = c.total, int64(len(c.repos))
	for day, t := range c.days {
		a.Days[time.UnixMilli(day*dayMillis).UTC().Format(time.DateOnly)] = *t
	}
	for sweep, t := range c.sweeps {
		a.Sweeps[sweep] = *t
	}
	return a
}

// Listing keeps the rows of some days, to find out which of them differ between
// stores.
type Listing struct {
	Rows map[repo.Key]Row
	days map[int64]bool
}

// Row is what a store holds under one key.
type Row struct {
	Copies             int64
	Observed, Velocity uint64 // checksums
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
func (l *Listing) Add(key repo.Key, _ string, observed, velocity uint64) {
	if !l.days[dayOf(key)] {
		return
	}
	r, seen := l.Rows[key]
	if !seen {
		r.Observed, r.Velocity = observed, velocity
	}
	r.Copies++
	l.Rows[key] = r
}
