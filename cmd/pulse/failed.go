package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	"github.com/m7pulse/m7pulse/shared/event"
)

// failedNow asks Redis which listed owners' last sweeps failed.
func failedNow(ctx context.Context, env map[string]string) ([]fetchorg.Failure, error) {
	owners, err := fetchorg.OpenOwners(env["REDIS_URL"])
	if err != nil {
		return nil, err
	}
	defer owners.Close()
	failed, err := owners.Failed(ctx)
	if failed == nil {
		failed = []fetchorg.Failure{} // in JSON [], not null
	}
	return failed, err
}

// failedIn finds the owners whose last sweep in the ledger failed, by owner. An
// owner without a line in the last day of the ledger is no longer swept.
func failedIn(ledger map[string][]event.OwnerSwept) []fetchorg.Failure {
	last := map[string]event.OwnerSwept{}
	newest := ""
	for id, lines := range ledger {
		newest = max(newest, id)
		for _, l := range lines {
			if owner := strings.ToLower(l.Owner); last[owner].SweepID < id {
				last[owner] = l
			}
		}
	}
	failed := []fetchorg.Failure{}
	for _, l := range last {
		if l.Status != event.StatusFailed || olderThanADay(l.SweepID, newest) {
			continue
		}
		f := fetchorg.Failure{Owner: l.Owner, SweepID: l.SweepID}
		if l.Reason != nil {
			f.Reason = *l.Reason
		}
		failed = append(failed, f)
	}
	slices.SortFunc(failed, func(a, b fetchorg.Failure) int { return strings.Compare(a.Owner, b.Owner) })
	return failed
}

// olderThanADay compares sweeps by their ids, which are times in a live ledger.
func olderThanADay(id, newest string) bool {
	at, err := time.Parse(time.RFC3339, id)
	now, errNow := time.Parse(time.RFC3339, newest)
	return err == nil && errNow == nil && now.Sub(at) > 24*time.Hour
}

// printFailed names the owners whose last sweep failed, if there are any.
func printFailed(failed []fetchorg.Failure) {
	if len(failed) == 0 {
		return
	}
	fmt.Printf("SWEEPS FAILED of %d owners; `pulse tick` tries them again:\n", len(failed))
	for i, f := range failed {
		if i == shown {
			fmt.Printf("  … and %d more (--json has them all)\n", len(failed)-i)
			break
		}
		fmt.Printf("  %s in sweep %s: %s\n", visible(f.Owner), visible(f.SweepID), visible(f.Reason))
	}
}
