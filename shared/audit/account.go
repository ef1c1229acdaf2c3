// Package audit says what a store holds in a form that can be compared with
// what another store holds: counts by distinct key, and checksums of values.
package audit

import (
	"time"

	"github.com/m7pulse/m7pulse/shared/repo"
)

// Tally counts the rows of one day, one sweep, or all.
type Tally struct {
	Rows     int64  `json:"rows"`
	Distinct int64  `json:"distinct"` // by repo_id and observed_at
	Observed uint64 `json:"observed"` // sum of Observed checksums of the distinct ones
	Velocity uint64 `json:"velocity"` // sum of Velocity checksums of the distinct ones; 0 where there are none
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

// Count makes an account row by row. It remembers every key it has seen, about
// 60 bytes each.
type Count struct {
	Account *Account
	keys    map[repo.Key]struct{}
	repos   map[int64]struct{}
}

// NewCount returns a count of nothing yet.
func NewCount() *Count {
	return &Count{Account: NewAccount(), keys: map[repo.Key]struct{}{}, repos: map[int64]struct{}{}}
}

// Add counts one row. Of several with one key the first is the one that counts.
func (c *Count) Add(key repo.Key, sweep string, observed, velocity uint64) {
	_, seen := c.keys[key]
	c.keys[key] = struct{}{}
	c.repos[key.ID] = struct{}{}
	c.Account.Repos = int64(len(c.repos))
	day := time.UnixMilli(key.ObservedAt).UTC().Format(time.DateOnly)
	add := func(t Tally) Tally {
		t.Rows++
		if !seen {
			t.Distinct++
			t.Observed += observed
			t.Velocity += velocity
		}
		return t
	}
	c.Account.Total = add(c.Account.Total)
	c.Account.Days[day] = add(c.Account.Days[day])
	c.Account.Sweeps[sweep] = add(c.Account.Sweeps[sweep])
}
