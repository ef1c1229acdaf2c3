package sweep

import (
	"context"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/serve/servetest"
)

// BenchmarkOwnerOf30000 sweeps one owner whose GitHub answers at once, with the
// function in a process of its own, for what that needs. How long sweeps take
// with GitHub's own page times, TestFigures says in virtual time.
func BenchmarkOwnerOf30000(b *testing.B) {
	for range b.N {
		w := newWorld(b)
		slog.SetDefault(slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn})))
		w.serve(emulator.Generate(emulator.Plan{Seed: 1, Start: time.Now(), Owners: []emulator.OwnerPlan{{Login: "owner-0", Repos: 30_000}}}), tokenA)
		w.env["OWNERS"], w.env["PAGE_SIZE"] = "owner-0", "25"
		p := w.process()
		w.sweepBy(b, p)
		line := w.line("owner-0")
		if line.Status != event.StatusComplete {
			b.Errorf("ledger line %s", show(line))
		}
		ended, err := p.End()
		if err != nil {
			b.Fatalf("the function: %v\n%s", err, w.log)
		}
		used, ok := ended.SysUsage().(*syscall.Rusage)
		if !ok {
			b.Fatal("the system does not say what the process used")
		}
		b.ReportMetric(line.Seconds, "s")
		b.ReportMetric(float64(line.Points)/float64(line.Seen), "points/repo")
		b.ReportMetric(float64(used.Maxrss)/1024, "RSS-MiB")
		b.ReportMetric(time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds()/30, "cpu-s/1000")
	}
}

// sweepBy has a process sweep all owners, with its requests posted as a
// KafkaSource does.
func (w *world) sweepBy(b *testing.B, p *servetest.Process) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	client, err := kgo.NewClient(kgo.SeedBrokers(w.kafka.ListenAddrs()...), kgo.ConsumeTopics(event.TopicFetchRequests), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
				running.Go(func() {
					for try := 0; ctx.Err() == nil && p.Post(ctx, asEvent(record)) != nil; try++ {
						select {
						case <-time.After(600 * time.Millisecond << min(try, 8)):
						case <-ctx.Done():
						}
					}
				})
			})
		}
	})
	if err := p.Post(ctx, servetest.Event(b, event.TypeTick, map[string]string{"do": "sweep"})); err != nil {
		b.Fatal(err)
	}
	for {
		left, err := Unfinished(ctx, w.env["REDIS_URL"])
		if err != nil {
			b.Fatal(err)
		}
		if left == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
