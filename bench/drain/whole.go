package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/bench/series"
	"github.com/m7pulse/m7pulse/functions/aggregate"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/event"
)

// whole drains all records through the three bulk jobs at once into empty
// stores, and then audits, rebuilds and maintains what came out.
func (b *bench) whole(ctx context.Context) (err error) {
	if err := b.emptyTopics(ctx); err != nil {
		return err
	}
	at, err := b.stores(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	r, err := b.drainWhole(ctx, at)
	if err != nil {
		return err
	}
	r.print()
	return b.prove(ctx, at.env)
}

// ourWhole does the first half of whole.
func (b *bench) ourWhole(ctx context.Context) (r result, err error) {
	if err := b.emptyTopics(ctx); err != nil {
		return r, err
	}
	at, err := b.stores(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	return b.drainWhole(ctx, at)
}

// emptyTopics recreates all topics but that of the records.
func (b *bench) emptyTopics(ctx context.Context) error {
	client, err := kgo.NewClient(b.kafka.Options()...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if err := series.Forget(ctx, admin, aggregate.Group); err != nil {
		return err
	}
	topics := []string{event.BellTopic(event.TopicProcessedRepos)}
	for _, c := range event.Contracts() {
		topics = append(topics, event.DeadLetterTopic(c.Topic))
		if c.Topic != event.TopicBaseRepos {
			topics = append(topics, c.Topic)
		}
	}
	return series.Recreate(ctx, admin, topics...)
}

// drainWhole runs the three bulk jobs until all records are in both stores. Redis and
// ClickHouse are counted, Kafka is not.
func (b *bench) drainWhole(ctx context.Context, at *stores) (result, error) {
	began := time.Now()
	aggregated := make(chan struct{})
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	used := map[string]result{}
	run := func(name string, args ...string) {
		r, err := b.process(ctx, at.env, name, args...)
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
		sum := used[name]
		used[name] = result{Side: name, CPU: sum.CPU + r.CPU, MiB: max(sum.MiB, r.MiB)}
	}
	all.Go(func() { run("aggregate", "drain"); close(aggregated) })
	for _, sink := range []string{"sink-clickhouse", "sink-iceberg"} {
		all.Go(func() {
			for last := false; !last; {
				select {
				case <-aggregated:
					last = true // what is in the topics now is all
				case <-time.After(time.Second):
				}
				run(sink, "drain")
			}
		})
	}
	all.Wait()
	if failed != nil {
		return result{}, failed
	}
	total := result{Side: "aggregate and both sinks", Seconds: time.Since(began).Seconds()}
	for name, r := range used {
		fmt.Printf("%s: %.0f s of CPU, %d MiB at most\n", name, r.CPU, r.MiB)
		total.CPU += r.CPU
		total.MiB += r.MiB
	}
	for name, usage := range map[string]func() (float64, int64, error){
		"redis":      func() (float64, int64, error) { return redisUsage(ctx, at.state.Addr()) },
		"clickhouse": at.server.Usage,
	} {
		cpu, mib, err := usage()
		if err != nil {
			return result{}, err
		}
		fmt.Printf("%s: %.0f s of CPU, %d MiB at most\n", name, cpu, mib)
		total.CPU += cpu
		total.MiB += mib
	}
	conn, err := sinkclickhouse.Open(at.server.Address)
	if err != nil {
		return result{}, err
	}
	defer conn.Close()
	hot, err := b.stored(ctx, "sink-clickhouse", conn, at.cold)
	if err != nil {
		return result{}, err
	}
	cold, err := b.stored(ctx, "sink-iceberg", conn, at.cold)
	if err != nil {
		return result{}, err
	}
	if hot != int64(b.records) || cold != 2*hot {
		return result{}, fmt.Errorf("%d rows in ClickHouse and %d in Iceberg of %d records", hot, cold, b.records)
	}
	total.Records = hot
	return total, nil
}

// prove audits, rebuilds and maintains what was drained.
func (b *bench) prove(ctx context.Context, env []string) error {
	for _, command := range [][]string{{"audit"}, {"rebuild", "hot", "--from", "cold"}, {"maintain", "--keep-snapshots", "0s"}, {"audit"}} {
		began := time.Now()
		r, err := b.process(ctx, env, "pulse", command...)
		if err != nil {
			return err
		}
		fmt.Printf("pulse %v: %.0f s, %.0f s of CPU, %d MiB\n", command, time.Since(began).Seconds(), r.CPU, r.MiB)
	}
	return nil
}

// process runs one of our programs to its end.
func (b *bench) process(ctx context.Context, env []string, name string, args ...string) (result, error) {
	c := exec.Command(filepath.Join(filepath.Dir(b.program), name), args...)
	c.Env, c.Stdout, c.Stderr = env, os.Stdout, os.Stderr
	if err := child.Run(ctx, c, time.Minute); err != nil {
		return result{}, fmt.Errorf("%s %v: %w", name, args, err)
	}
	return result{
		Side: name, CPU: (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds(),
		MiB: c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10,
	}, nil
}
