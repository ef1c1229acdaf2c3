package main

import (
	"context"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/infra/local/stack"
)

func TestASeriesOfNoDaysIsRefused(t *testing.T) {
	for _, days := range []int{-1, 0, 1, 367} {
		for name, run := range map[string]func(context.Context, *place) error{
			"top": (&topCommand{Window: "7d", Each: 5, Days: days}).Run, "repo": (&repoCommand{Name: "a/b", Days: days}).Run,
			"compare": (&compareCommand{Names: []string{"a/b", "c/d"}, Days: days}).Run, "trends": (&trendsCommand{By: "owner", Top: 5, Days: days}).Run,
		} {
			if err := run(t.Context(), &place{home: stack.Home(t.TempDir())}); err == nil || !strings.Contains(err.Error(), "--days") {
				t.Errorf("%s --days %d: %v", name, days, err)
			}
		}
	}
}
