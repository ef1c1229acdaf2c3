package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/shared/feed/feedtest"
)

var residentMost, resident = regexp.MustCompile(`VmHWM:\s+(\d+) kB`), regexp.MustCompile(`RssAnon:\s+(\d+) kB`)

// TestBackfillOfAnHour takes every event of an hour's file into both stores, and says
// how fast that was.
func TestBackfillOfAnHour(t *testing.T) {
	long(t)
	const events, most = 200_000, 100 << 20
	lines := slices.Concat(feedtest.Newer(t), feedtest.Older(t))
	path := filepath.Join(t.TempDir(), "2026-06-01-15.json.gz")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	buffered := bufio.NewWriter(file)
	z := gzip.NewWriter(buffered)
	id := regexp.MustCompile(`"id":"\d+"`)
	for i := range events { // each is another event
		line := lines[i%len(lines)]
		at := id.FindIndex(line)
		if at == nil {
			t.Fatalf("no id in %.200s", line)
		}
		fmt.Fprintf(z, "%s\"id\":\"%d\"%s\n", line[:at[0]], 1_000_000_000_000+i, line[at[1]:])
	}
	for _, close := range []func() error{z.Close, buffered.Flush, file.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
	p := newPulse(t)
	p.run("up", "--detach", "--empty")
	stores, err := pipeline.Open(t.Context(), map[string]string{
		"KAFKA_BROKERS": p.address("KAFKA_BROKERS"), "SCHEMA_REGISTRY_URL": p.address("SCHEMA_REGISTRY_URL"), "REDIS_URL": p.address("REDIS_URL"),
		"CLICKHOUSE_URL": p.address("CLICKHOUSE_URL"), "ICEBERG_CATALOG_URI": p.address("ICEBERG_CATALOG_URI"), "ICEBERG_WAREHOUSE": p.address("ICEBERG_WAREHOUSE"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stores.Close()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	began := time.Now()
	backfill := p.command(ctx, "backfill", "gharchive", path, "--all")
	var out bytes.Buffer
	backfill.Stdout, backfill.Stderr = &out, &out
	if err := backfill.Start(); err != nil {
		t.Fatal(err)
	}
	// Its ru_maxrss would count what this test took when it began it. all has the pages of
	// the program itself, which it shares with every other pulse; own has not.
	var all, own int64
	ended := make(chan error, 1)
	go func() { ended <- backfill.Wait() }()
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-time.After(50 * time.Millisecond):
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", backfill.Process.Pid)) // none once it has ended
			for pattern, most := range map[*regexp.Regexp]*int64{residentMost: &all, resident: &own} {
				if kb := pattern.FindSubmatch(status); kb != nil {
					n, _ := strconv.ParseInt(string(kb[1]), 10, 64) // it is digits
					*most = max(*most, n<<10)
				}
			}
		}
	}
	read := time.Since(began)
	if err != nil || own == 0 {
		t.Fatalf("backfill: %v, %d bytes of memory\n%s", err, own, out.Bytes())
	}
	stored := p.until(limit, "both stores have all", func() bool {
		at, err := stores.Snapshot(ctx)
		return err == nil && at.AtRest()
	}) + read
	p.wantEvents(events)
	t.Logf("%d events: into Kafka in %s, %.0f/s; into both stores in %s, %.0f/s; the command took %d MiB, %d of them its own, and %s of processor time",
		events, read.Round(time.Millisecond), events/read.Seconds(), stored.Round(time.Millisecond), events/stored.Seconds(), all>>20, own>>20,
		(backfill.ProcessState.UserTime() + backfill.ProcessState.SystemTime()).Round(time.Millisecond))
	if own > most {
		t.Errorf("pulse backfill took %d MiB of its own, want %d at most", own>>20, most>>20)
	}
}
