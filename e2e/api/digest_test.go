package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/digest"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

func TestADigestHoldsTheMoversTheSignalsAndWhatIsMissing(t *testing.T) {
	conn, err := sinkclickhouse.Open(store)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d, err := digest.Read(t.Context(), conn, time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), true)
	if err != nil {
		t.Fatal(err)
	}
	var signals, gaps []string
	for _, s := range d.Signals {
		signals = append(signals, s.ID)
	}
	if want := []string{"owner_failed/gone@1768456920000", "breakout/1@1768456800000", "release/1@1768456800000"}; !slices.Equal(signals, want) || d.More {
		t.Errorf("signals %q, want %q", signals, want)
	}
	for _, g := range d.Incomplete() {
		gaps = append(gaps, fmt.Sprint(g.Owner, ": ", g.What))
	}
	for _, want := range []string{"gone: its last sweep is failed: GitHub was away", "gone: not read from 2026-01-07 to 2026-01-15"} {
		if !slices.Contains(gaps, want) {
			t.Errorf("%q is not in %q", want, gaps)
		}
	}
	if i := slices.IndexFunc(gaps, func(g string) bool { return strings.HasPrefix(g, "acme") }); i >= 0 {
		t.Errorf("acme is complete: %s", gaps[i])
	}
	if len(d.Movers) == 0 || d.Movers[0].Repository != "acme/steady" || *d.Movers[0].Delta == 0 {
		t.Errorf("movers %+v", d.Movers)
	}
}
