package serve

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryOfBulkModeIsLimitedUntilItEnds(t *testing.T) {
	garbage := func() int { g := debug.SetGCPercent(100); debug.SetGCPercent(g); return g }
	defer debug.SetGCPercent(debug.SetGCPercent(150))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 40))
	for _, m := range []struct {
		Memory
		limit int64
	}{{Memory{Garbage: 200, Limit: 1 << 30}, 1 << 30}, {Memory{Garbage: 75}, 1 << 40}} {
		restore := m.Set()
		if g, l := garbage(), debug.SetMemoryLimit(-1); g != m.Garbage || l != m.limit {
			t.Errorf("%+v: garbage %d%%, limit %d", m.Memory, g, l)
		}
		restore()
		if g, l := garbage(), debug.SetMemoryLimit(-1); g != 150 || l != 1<<40 {
			t.Errorf("after %+v: garbage %d%%, limit %d", m.Memory, g, l)
		}
	}
}

func TestBoundsOfARangeBelongToIt(t *testing.T) {
	for _, v := range []int{math.MinInt, 0, 6, math.MaxInt} {
		if err := InRange("X", v, 1, 5); err == nil {
			t.Errorf("%d is accepted", v)
		}
	}
	for _, v := range []int{1, 3, 5} {
		if err := InRange("X", v, 1, 5); err != nil {
			t.Errorf("%d: %v", v, err)
		}
	}
}
