package main

import (
	"context"
	"fmt"

	"github.com/m7pulse/m7pulse/functions/fetch-org/sweep"
)

// failedNow asks Redis which listed owners' last sweeps failed.
func failedNow(ctx context.Context, env map[string]string) ([]sweep.Failure, error) {
	owners, err := sweep.OpenOwners(env["REDIS_URL"])
	if err != nil {
		return nil, err
	}
	defer owners.Close()
	failed, err := owners.Failed(ctx)
	if failed == nil {
		failed = []sweep.Failure{} // in JSON [], not null
	}
	return failed, err
}

// printFailed names the owners whose last sweep failed, if there are any.
func printFailed(failed []sweep.Failure) {
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
