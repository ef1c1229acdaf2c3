// Command drain measures the bulk jobs.
//
// The whole it measures against Apache Spark doing the same work, on the same Kafka,
// machine and records, in turns:
//
//	go run ./bench/drain -brokers 127.0.0.1:9092 -whole -spark .build/spark
//
// Both read the same topic, keep state per repository, compute the deltas of every
// counter, and write what they read and what they computed to Iceberg, and the time
// series to ClickHouse. Ours also computes the metrics, keeps the state in
// redis-server, produces every row to Kafka in transactions, and keeps the state of
// each repository in ClickHouse. All of that is counted, each process, Redis and
// ClickHouse; the broker is counted on neither side.
//
// -traced measures aggregate alone with traces on and off, in turns: records come in
// pages of 25, each from another span, and spans go to a receiver that drops them.
//
// Without -whole it is aggregate alone against Spark's job with its rows dropped.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/bench/series"
	"github.com/m7pulse/m7pulse/functions/aggregate"
	"github.com/m7pulse/m7pulse/infra/local/redis"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// result is one run of one side.
type result struct {
	Side    string  `json:"side"`
	Records int64   `json:"records"` // that arrived at the other end
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"`
	MiB     int64   `json:"peak_rss_mib"`
}

type bench struct {
	kafka    kafka.Config
	registry string
	work     string
	program  string // of the function
	spark    string // folder made by bench/spark/setup.sh, or empty
	records  int
	bare     bool
	traced   bool
	otlp     string // where spans go; empty: traces are off
}

func main() {
	log.SetFlags(0)
	var b bench
	brokers := flag.String("brokers", "127.0.0.1:9092", "a real Kafka, or embedded: that of a local stack, in this process")
	flag.StringVar(&b.program, "program", "bin/aggregate", "the function's program")
	flag.StringVar(&b.spark, "spark", "", "folder made by bench/spark/setup.sh; empty: leave Spark out")
	flag.IntVar(&b.records, "records", 4_000_000, "records")
	recording := flag.String("recording", "data/m7-2025.jsonl.gz", "recorded events")
	rounds := flag.Int("rounds", 3, "rounds")
	sinks := flag.Bool("sinks", false, "measure the sinks, with what aggregate makes of the records")
	flag.BoolVar(&b.bare, "bare", true, "with -sinks: measure the stores' bare writers too, which take all records into memory")
	whole := flag.Bool("whole", false, "measure aggregate and both sinks at once, and audit, rebuild and maintain what they made")
	flag.BoolVar(&b.traced, "traced", false, "measure aggregate with traces and without")
	keep := flag.Bool("keep", false, "use the records that are in the topic already")
	flag.Parse()
	b.kafka = kafka.Config{Brokers: strings.Split(*brokers, ",")}
	if *brokers == "embedded" {
		address, end, err := series.Kafka(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		defer end()
		b.kafka.Brokers = []string{address}
	}
	if err := b.run(context.Background(), *recording, *rounds, *keep, *sinks, *whole); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run(ctx context.Context, recording string, rounds int, keep, sinks, whole bool) (err error) {
	b.work = filepath.Join(os.TempDir(), "m7pulse-bench")
	if !keep {
		if err := os.RemoveAll(b.work); err != nil {
			return err
		}
	}
	url, stop, err := series.Registry(filepath.Join(b.work, "registry"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	b.registry = url
	if !keep {
		if err := b.fill(ctx, recording); err != nil {
			return err
		}
	}
	if b.traced {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
		defer receiver.Close()
		return b.turns(ctx, rounds, b.ours, func(ctx context.Context) (result, error) {
			b.otlp = receiver.URL
			defer func() { b.otlp = "" }()
			r, err := b.ours(ctx)
			r.Side += ", traced"
			return r, err
		})
	}
	if whole && b.spark == "" {
		return b.whole(ctx)
	}
	if whole {
		return b.turns(ctx, rounds, b.ourWhole, b.theirWhole)
	}
	if sinks {
		if !keep {
			if _, err := b.ours(ctx); err != nil {
				return err
			}
		}
		return b.sinks(ctx)
	}
	if b.spark != "" {
		return b.turns(ctx, rounds, b.ours, b.theirs)
	}
	return b.turns(ctx, rounds, b.ours, b.ours) // A/A
}

// turns measures the sides in turns.
func (b *bench) turns(ctx context.Context, rounds int, sides ...func(context.Context) (result, error)) error {
	for range rounds {
		for _, side := range sides {
			r, err := side(ctx)
			if err != nil {
				return err
			}
			r.print()
		}
	}
	return nil
}

// add counts a server's use too.
func (r *result) add(usage func() (cpu float64, mib int64, err error)) error {
	cpu, mib, err := usage()
	r.CPU += cpu
	r.MiB += mib
	return err
}

func (r result) print() {
	line, _ := json.Marshal(r) // a flat struct of numbers always encodes
	fmt.Printf("%s  %.0f records/s, %.2f µs of CPU a record\n", line, float64(r.Records)/r.Seconds, r.CPU/float64(r.Records)*1e6)
}

func (b *bench) fill(ctx context.Context, recording string) error {
	codec, err := event.NewCodec(b.registry)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(b.kafka.Options()...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := series.Recreate(ctx, kadm.NewClient(client), event.TopicBaseRepos); err != nil {
		return err
	}
	began := time.Now()
	if err := produce(ctx, b.kafka, codec, recording, b.records, b.traced); err != nil {
		return err
	}
	log.Printf("%d records produced in %s", b.records, time.Since(began).Round(time.Second))
	return nil
}

// ours drains the whole topic from an empty Redis and an unknown group.
func (b *bench) ours(ctx context.Context) (result, error) {
	client, err := kgo.NewClient(b.kafka.Options()...)
	if err != nil {
		return result{}, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if err := series.Forget(ctx, admin, aggregate.Group); err != nil {
		return result{}, err
	}
	if err := series.Recreate(ctx, admin, event.TopicProcessedRepos, event.BellTopic(event.TopicProcessedRepos)); err != nil {
		return result{}, err
	}
	dir := filepath.Join(b.work, "redis")
	if err := os.RemoveAll(dir); err != nil {
		return result{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return result{}, err
	}
	state, err := redis.Start(ctx, redis.Config{Dir: dir})
	if err != nil {
		return result{}, err
	}
	defer state.Close()
	began := time.Now()
	env := append(os.Environ(), "KAFKA_BROKERS="+strings.Join(b.kafka.Brokers, ","), "SCHEMA_REGISTRY_URL="+b.registry, "REDIS_URL=redis://"+state.Addr())
	if b.otlp != "" {
		env = append(env, "OTEL_EXPORTER_OTLP_ENDPOINT="+b.otlp)
	}
	r, err := b.process(ctx, env, filepath.Base(b.program), "drain")
	if err != nil {
		return result{}, err
	}
	r.Seconds = time.Since(began).Seconds()
	if err := r.add(func() (float64, int64, error) { return redisUsage(ctx, state.Addr()) }); err != nil {
		return result{}, err
	}
	r.Records, err = b.arrived(ctx)
	return r, err
}

// arrived counts the rows that a reader of the output topic sees.
func (b *bench) arrived(ctx context.Context) (n int64, err error) {
	ends, err := kafka.Ends(ctx, b.kafka, event.TopicProcessedRepos)
	if err != nil {
		return 0, err
	}
	for p, end := range ends {
		err := kafka.ReadRange(ctx, b.kafka, p, 0, end, func(records []*kgo.Record, _ int64) error {
			n += int64(len(records))
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if n != int64(b.records) {
		return n, fmt.Errorf("%d rows arrived of %d records", n, b.records)
	}
	return n, nil
}

// redisUsage asks Redis for its CPU seconds, those of its rewrites included, and
// its memory in MiB.
func redisUsage(ctx context.Context, address string) (cpu float64, mib int64, err error) {
	client := goredis.NewClient(&goredis.Options{Addr: address})
	defer client.Close()
	info, err := client.Info(ctx, "cpu", "memory").Result()
	if err != nil {
		return 0, 0, fmt.Errorf("ask redis for its usage: %w", err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children":
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("redis %s: %w", line, err)
			}
			cpu += v
		case "used_memory_peak":
			v, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("redis %s: %w", line, err)
			}
			mib = v >> 20
		}
	}
	return cpu, mib, nil
}
