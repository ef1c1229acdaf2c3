package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/repo"
)

const (
	// maxRowsRead bounds the rows of a table that are searched for differences:
	// those of the first days that differ, but at least one day's.
	maxRowsRead = 1_000_000
	// maxListed bounds the rows that are listed.
	maxListed = 1_000
)

// Row is an observation that not every table holds exactly once and with the same
// values.
type Row struct {
	RepoID     int64     `json:"repo_id"`
	ObservedAt time.Time `json:"observed_at"`
	What       string    `json:"what"` // is wrong
}

// firstDiffering returns the first days that differ, together no more than a number
// of rows, but at least one day.
func (r *Report) firstDiffering(rows int64) (days []string) {
	for _, d := range r.Days {
		if d.Equal {
			continue
		}
		n := max(d.Kafka, d.stored())
		if len(days) > 0 && rows < n {
			break
		}
		rows -= n
		days = append(days, d.Name)
	}
	return days
}

// differingRows finds the rows that differ on some days. It reads Kafka once more,
// and those days of the tables.
func differingRows(ctx context.Context, log Log, at Moment, truncated bool, days []string) ([]Row, error) {
	if len(days) == 0 {
		return []Row{}, nil
	}
	holdings := []holding{
		{name: "Kafka", details: true, repeats: true, truncated: truncated},
		{name: "Kafka, processed", details: true, velocities: true, repeats: true, truncated: truncated},
	}
	for _, t := range at.Tables {
		d := t.Describe()
		holdings = append(holdings, holding{name: d.String(), details: d.Details, velocities: d.Velocities})
	}
	for i := range holdings {
		holdings[i].listing = account.NewListing(days)
	}
	base, processed, tables := holdings[0].listing, holdings[1].listing, holdings[2:]
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error { return log.readBase(within, at.Ends, base) })
	group.Go(func() error { return log.readProcessed(within, at.Ends, processed) })
	eachTable(group, at.Tables, func(i int, t Table) error { return t.List(within, days, tables[i].listing) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return describe(holdings), nil
}

// holding is what a topic or table holds of the days that are compared.
type holding struct {
	name       string
	listing    *account.Listing
	details    bool // it has all of an observation
	velocities bool
	repeats    bool // a row may be there more than once
	truncated  bool // retention may have deleted a row
}

// describe says what is wrong with each observation, in the order of time.
func describe(all []holding) []Row {
	keys := map[repo.Key]bool{}
	for _, h := range all {
		for k := range h.listing.Rows {
			keys[k] = true
		}
	}
	sorted := slices.SortedFunc(maps.Keys(keys), func(a, b repo.Key) int {
		return cmp.Or(cmp.Compare(a.ObservedAt, b.ObservedAt), cmp.Compare(a.ID, b.ID))
	})
	out := []Row{}
	for _, k := range sorted {
		var missing, twice []string
		observed, details, velocities := map[uint64][]string{}, map[uint64][]string{}, map[uint64][]string{}
		for _, h := range all {
			row := h.listing.Rows[k]
			switch {
			case row.Copies == 0 && !h.truncated:
				missing = append(missing, h.name)
			case row.Copies > 1 && !h.repeats:
				twice = append(twice, h.name)
			}
			if row.Copies > 0 {
				observed[row.Observed] = append(observed[row.Observed], h.name)
				if h.details {
					details[row.Details] = append(details[row.Details], h.name)
				}
				if h.velocities {
					velocities[row.Velocity] = append(velocities[row.Velocity], h.name)
				}
			}
		}
		var what []string
		say := func(text string, stores []string) {
			if len(stores) > 0 {
				what = append(what, text+" "+strings.Join(stores, " and "))
			}
		}
		say("missing in", missing)
		say("more than once in", twice)
		if len(observed) > 1 {
			what = append(what, "other counters in "+minority(observed))
		} else if len(details) > 1 {
			what = append(what, "other details in "+minority(details))
		} else if len(velocities) > 1 {
			what = append(what, "other velocities in "+minority(velocities))
		}
		if len(what) == 0 {
			continue
		}
		out = append(out, Row{RepoID: k.ID, ObservedAt: time.UnixMilli(k.ObservedAt).UTC(), What: strings.Join(what, "; ")})
		if len(out) == maxListed {
			break
		}
	}
	return out
}

// minority names the holders that differ, group by group; the largest group is named
// last, as what they differ from.
func minority(bySum map[uint64][]string) string {
	groups := slices.SortedFunc(maps.Values(bySum), func(a, b []string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(strings.Join(a, ""), strings.Join(b, "")))
	})
	var named []string
	for _, g := range groups[:len(groups)-1] {
		named = append(named, strings.Join(g, " and "))
	}
	return fmt.Sprintf("%s than in %s", strings.Join(named, "; "), strings.Join(groups[len(groups)-1], " and "))
}
