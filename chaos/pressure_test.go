package chaos

import (
	"errors"
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var down = flag.Duration("chaos.down", 5*time.Second, "how long ClickHouse is away under load")

// mostMemory bounds each function's resident memory while its store is away.
const mostMemory = 500 << 20

// TestBackPressureIsBoundedAndEndsByItself has ClickHouse away for a time while
// observations flow: whatever waits, waits in Kafka.
func TestBackPressureIsBoundedAndEndsByItself(t *testing.T) {
	long(t)
	t.Parallel()
	// Blocks of ordinary size, committed sooner than in a cluster (60 s): how much of
	// the backlog is in hand is the question.
	p := newPipeline(t, absolute(t, programs), 1, map[string]string{"SINK_ICEBERG_INTERVAL": "10s", "SINK_ICEBERG_QUIET": "1s"})
	l := newLoad(t, p, rand.New(rand.NewPCG(*seed, 4)))
	if err := l.batch(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.links["clickhouse"].proxy.Stop()
	began, said := time.Now(), time.Time{}
	peak := map[string]int64{}
	for time.Since(began) < *down {
		if err := l.batch(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, f := range p.status() {
			peak[f.Name] = max(peak[f.Name], f.Resident)
			if time.Since(said) > 30*time.Second && f.Resident > 0 {
				t.Logf("%4.0f s, %6d records: %s has %d MiB", time.Since(began).Seconds(), l.records, f.Name, f.Resident>>20)
			}
		}
		if time.Since(said) > 30*time.Second {
			said = time.Now()
		}
		if len(l.rest) < 200 {
			t.Fatal("the recording is at its end")
		}
		// At an even pace, however long it lasts.
		time.Sleep(*down / 500)
	}
	if err := p.links["clickhouse"].proxy.Start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	if errs := l.settled(t.Context()); len(errs) > 0 {
		t.Error(errors.Join(errs...))
	}
	t.Logf("away %s under %d records; all stored %.1f s after it came back; peaks %v", *down, l.records, time.Since(back).Seconds(), peak)
	for f, bytes := range peak {
		if bytes > mostMemory {
			t.Errorf("%s took %d MiB", f, bytes>>20)
		}
	}
}
