package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

// TestBulkJobKilledWhileItsMarkerWaitsLosesNothing: the time series has the rows
// of some blocks, of which neither the state of repositories nor a marker tells.
func TestBulkJobKilledWhileItsMarkerWaitsLosesNothing(t *testing.T) {
	long(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	p := newPipeline(t, absolute(t, programs), 0, small()) // no bell rings: the bulk jobs alone are at work
	l := newLoad(t, p, rand.New(rand.NewPCG(*seed, 4)))
	for range batches {
		if err := l.batch(ctx); err != nil {
			t.Fatal(err)
		}
	}
	open := func(function string) *stray {
		t.Helper()
		s, err := p.replica(function, "drain")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	end := func(s *stray) {
		t.Helper()
		select {
		case <-s.Done():
		case <-ctx.Done():
			t.Fatal("a bulk job did not end")
		}
	}
	aggregate := open("aggregate")
	end(aggregate)
	if !aggregate.State().Success() {
		t.Fatal(aggregate.State())
	}

	const killed = 4 // the block whose rows arrive as the process ends
	series, blocks := contains("INSERT", "pulse.github_metrics_timeseries"), 0
	last := func(chunk []byte) bool {
		if series(chunk) {
			blocks++
		}
		return blocks == killed
	}
	victim := make(chan *stray, 1)
	sprung := make(chan bool, 1)
	go func() {
		sprung <- p.links["clickhouse"].gate.set(ctx, &trap{sees: last, after: true, spring: func() { _ = (<-victim).Signal(syscall.SIGKILL) }})
	}()
	first := open("sink-clickhouse")
	victim <- first
	end(first)
	if first.State().Success() || !<-sprung {
		t.Fatalf("the bulk job ended by itself, after %d blocks", blocks)
	}

	conn, err := sinkclickhouse.Open(p.direct["CLICKHOUSE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var rows, state, markers uint64
	err = errors.Join(
		conn.QueryRow(ctx, "SELECT count() FROM pulse.github_metrics_timeseries").Scan(&rows),
		conn.QueryRow(ctx, "SELECT count() FROM pulse.github_processed_repos").Scan(&state),
		conn.QueryRow(ctx, "SELECT count() FROM pulse.sink_commits WHERE topic = 'github.processed_repos'").Scan(&markers),
	)
	if err != nil {
		t.Fatal(err)
	}
	if rows == 0 || state != 0 || markers != 0 {
		t.Fatalf("%d rows, %d of state, %d markers: the marker did not wait", rows, state, markers)
	}

	second := open("sink-clickhouse")
	end(second)
	if !second.State().Success() {
		t.Fatal(second.State())
	}
	for _, err := range l.settled(ctx) {
		t.Error(err)
	}
}
