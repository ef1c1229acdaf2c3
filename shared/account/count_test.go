package account_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// TestACountOnDiskIsTheCountInMemory: of so many rows that most are on disk, more
// than a quarter of them repeats with other values, over days and sweeps.
func TestACountOnDiskIsTheCountInMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	got, want := account.NewCount(), account.NewAccount()
	got.Reprocessed(map[string]bool{"2026-01-02": true})
	sweeps, days := [5]string{}, [4]string{}
	for i := range sweeps {
		sweeps[i] = fmt.Sprint("sweep ", i)
	}
	for i := range days {
		days[i] = began.AddDate(0, 0, i).Format(time.DateOnly)
	}
	first, repos := map[repo.Key]bool{}, map[int64]bool{}
	for range 600_000 {
		hour := random.IntN(24 * len(days))
		key := repo.Key{ID: random.Int64N(9_000) - 4_500, ObservedAt: began.Add(time.Duration(hour) * time.Hour).UnixMilli()}
		day, sweep, observed, velocity := days[hour/24], sweeps[random.IntN(len(sweeps))], random.Uint64(), random.Uint64()
		got.Add(key, sweep, account.Sums{Observed: observed, Details: observed / 3, Velocity: velocity})

		total, ofDay, ofSweep := want.Total, want.Days[day], want.Sweeps[sweep]
		for _, tally := range []*account.Tally{&total, &ofDay, &ofSweep} {
			tally.Rows++
			if first[key] {
				continue
			}
			tally.Distinct++
			tally.Observed += observed
			tally.Details += observed / 3
			if day == "2026-01-02" {
				tally.Reprocessed++
			} else {
				tally.Velocity += velocity
			}
		}
		want.Total, want.Days[day], want.Sweeps[sweep] = total, ofDay, ofSweep
		first[key], repos[key.ID] = true, true
	}
	want.Repos = int64(len(repos))
	a, err := got.Account()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, want %+v", a, want)
	}
}

func TestACountThatFindsNoDiskSaysSo(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "not there"))
	c := account.NewCount()
	for i := range int64(300_000) {
		c.Add(repo.Key{ID: i}, "s", account.Sums{Observed: 1, Velocity: 1})
	}
	if a, err := c.Account(); err == nil {
		t.Errorf("it counted %+v", a.Total)
	}
}

// BenchmarkCount says how much memory the process has taken from the system.
func BenchmarkCount(b *testing.B) {
	for _, rows := range []int64{1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			for b.Loop() {
				c := account.NewCount()
				for i := range rows {
					c.Add(repo.Key{ID: i % 30_000 * 7919, ObservedAt: i / 30_000 * time.Hour.Milliseconds()}, "s", account.Sums{Observed: uint64(i), Velocity: uint64(i)})
				}
				if a, err := c.Account(); err != nil || a.Total.Distinct != rows {
					b.Fatalf("%+v, %v", a, err)
				}
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.Sys)/(1<<20), "MiB")
		})
	}
}
