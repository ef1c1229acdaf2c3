package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/audit"
	"github.com/m7pulse/m7pulse/shared/repo"
)

const (
	// maxRowsRead bounds the rows of a store that are searched for differences:
	// those of the first days that differ, but at least one day's.
	maxRowsRead = 1_000_000
	// maxListed bounds the rows that are listed.
	maxListed = 1_000
)

// differing is an observation that not every store holds exactly once and with the
// same values.
type differing struct {
	RepoID     int64     `json:"repo_id"`
	ObservedAt time.Time `json:"observed_at"`
	What       string    `json:"what"`
}

// firstDiffering returns the first days that differ, together no more than a number
// of rows, but at least one day.
func (r *report) firstDiffering(rows int64) (days []string) {
	for _, d := range r.Days {
		if d.Equal {
			continue
		}
		n := max(d.Kafka, d.stored)
		if len(days) > 0 && rows < n {
			break
		}
		rows -= n
		days = append(days, d.Name)
	}
	return days
}

// differingRows finds the rows that differ on some days. It reads Kafka once more,
// and those days of the stores.
func (s *stores) differingRows(ctx context.Context, at *snapshot, days []string, truncated bool) ([]differing, error) {
	if len(days) == 0 {
		return []differing{}, nil
	}
	base, processed, hot, raw, cold := audit.NewListing(days), audit.NewListing(days), audit.NewListing(days), audit.NewListing(days), audit.NewListing(days)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return audit.ReadBase(ctx, s.kafka, at.ends, s.codec, s.purged, base) })
	group.Go(func() error { return audit.ReadProcessed(ctx, s.kafka, at.ends, s.codec, s.purged, processed) })
	group.Go(func() error { return sinkclickhouse.List(ctx, s.hot, days, at.hot, hot) })
	group.Go(func() error { return at.raw.Account(ctx, days, raw) })
	group.Go(func() error { return at.cold.Account(ctx, days, cold) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return describe([]holding{
		{store: "Kafka", listing: base, details: true, repeats: true, truncated: truncated},
		{store: "Kafka, processed", listing: processed, details: true, velocities: true, repeats: true, truncated: truncated},
		{store: "ClickHouse", listing: hot, velocities: true},
		{store: "Iceberg base_repos", listing: raw, details: true},
		{store: "Iceberg processed_repos", listing: cold, details: true, velocities: true},
	}), nil
}

// holding is what a store holds of the days that are compared.
type holding struct {
	store      string
	listing    *audit.Listing
	details    bool // it has all of an observation
	velocities bool
	repeats    bool // a row may be there more than once
	truncated  bool // retention may have deleted a row
}

// describe says what is wrong with each observation, in the order of time.
func describe(all []holding) []differing {
	keys := map[repo.Key]bool{}
	for _, h := range all {
		for k := range h.listing.Rows {
			keys[k] = true
		}
	}
	sorted := slices.SortedFunc(maps.Keys(keys), func(a, b repo.Key) int {
		return cmp.Or(cmp.Compare(a.ObservedAt, b.ObservedAt), cmp.Compare(a.ID, b.ID))
	})
	out := []differing{}
	for _, k := range sorted {
		var missing, twice []string
		observed, details, velocities := map[uint64][]string{}, map[uint64][]string{}, map[uint64][]string{}
		for _, h := range all {
			row := h.listing.Rows[k]
			switch {
			case row.Copies == 0 && !h.truncated:
				missing = append(missing, h.store)
			case row.Copies > 1 && !h.repeats:
				twice = append(twice, h.store)
			}
			if row.Copies > 0 {
				observed[row.Observed] = append(observed[row.Observed], h.store)
				if h.details {
					details[row.Details] = append(details[row.Details], h.store)
				}
				if h.velocities {
					velocities[row.Velocity] = append(velocities[row.Velocity], h.store)
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
		out = append(out, differing{RepoID: k.ID, ObservedAt: time.UnixMilli(k.ObservedAt).UTC(), What: strings.Join(what, "; ")})
		if len(out) == maxListed {
			break
		}
	}
	return out
}

// minority names the stores that differ, group by group; the largest group is named
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
