package backfill

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/m7pulse/m7pulse/shared/feed/feedtest"
)

// The file of the benchmarks has as many events as an hour of GH Archive: the real ones,
// again and again.
const hourOfEvents = 200_000

func hourFile(b *testing.B) (path string, unpacked int64, owner string) {
	b.Helper()
	lines := realLines(b)
	path = filepath.Join(b.TempDir(), "2026-06-01-15.json.gz")
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	buffered := bufio.NewWriter(file)
	z := gzip.NewWriter(buffered)
	for i := range hourOfEvents {
		n, err := z.Write(append(lines[i%len(lines)], '\n'))
		if err != nil {
			b.Fatal(err)
		}
		unpacked += int64(n)
	}
	for _, close := range []func() error{z.Close, buffered.Flush, file.Close} {
		if err := close(); err != nil {
			b.Fatal(err)
		}
	}
	return path, unpacked, someOwners(b, lines)[0]
}

// BenchmarkHour reads an hour's file on one core (-cpu 1): only unpacked; filtered by one
// owner and by a tenth of all; with the tools of the shell; and every event parsed.
func BenchmarkHour(b *testing.B) {
	path, size, owner := hourFile(b)
	many := someOwners(b, realLines(b))
	run := func(name string, read func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			before := processorTime(b)
			for b.Loop() {
				read(b)
			}
			b.ReportMetric((processorTime(b)-before)/float64(b.N), "cpu-s/op") // what counts on a machine that others use too
			b.ReportMetric(hourOfEvents*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	run("unpack", func(b *testing.B) {
		file, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer file.Close()
		z, err := gzip.NewReader(bufio.NewReaderSize(file, 256<<10))
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, z); n != size || err != nil {
			b.Fatal(n, err)
		}
	})
	filtered := func(f Filter) func(*testing.B) {
		return func(b *testing.B) {
			a := &Archive{Filter: f, Reader: feedtest.Reader(), To: &kept{}}
			file, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			if c, err := a.read(b.Context(), file); c.Lines != hourOfEvents || c.Bytes != size || err != nil {
				b.Fatal(c, err)
			}
		}
	}
	run("owner", filtered(Owners([]string{owner}, nil)))
	run("tenth of owners", filtered(Owners(many, nil)))
	shell := func(command string) func(*testing.B) {
		return func(b *testing.B) {
			if out, err := exec.Command("sh", "-c", command, path, owner).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, bytes.TrimSpace(out))
			}
		}
	}
	run("zcat", shell(`zcat "$0" | wc -c`))
	run("zcat grep", shell(`zcat "$0" | grep -ic "\"repo\":{\"id\":[0-9]*,\"name\":\"$1/"`))
	if _, err := exec.LookPath("jq"); err == nil {
		run("zcat jq", shell(`zcat "$0" | jq -c --arg owner "$1" 'select(.repo.name | ascii_downcase | startswith(($owner | ascii_downcase) + "/"))' | wc -l`))
	}
	run("all", filtered(Everything()))
}

// processorTime is the time in seconds that processors have worked for this process and
// those that it has started and waited for.
func processorTime(b *testing.B) (seconds float64) {
	b.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		if err := syscall.Getrusage(who, &used); err != nil {
			b.Fatal(err)
		}
		for _, t := range []syscall.Timeval{used.Utime, used.Stime} {
			seconds += time.Duration(t.Nano()).Seconds()
		}
	}
	return seconds
}
