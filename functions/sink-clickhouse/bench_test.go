package sinkclickhouse

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// BenchmarkBulkJob drains all of a topic, and sends the same blocks to the same
// tables from memory, as fast as clickhouse-go does. `make bench` brings the
// servers.
func BenchmarkBulkJob(b *testing.B) {
	environ := map[string]string{}
	for _, name := range []string{"KAFKA_BROKERS", "SCHEMA_REGISTRY_URL", "REDIS_URL", "CLICKHOUSE_URL"} {
		if environ[name] = os.Getenv(name); environ[name] == "" {
			b.Skip("it needs servers: ", name, " is not set")
		}
	}
	ctx := b.Context()
	cfg, err := serve.Load[Config](ctx, environ)
	if err != nil {
		b.Fatal(err)
	}
	s, err := newStore(cfg.ClickHouse, answerLimit)
	if err != nil {
		b.Fatal(err)
	}
	defer s.conn.Close()
	if err := errors.Join(s.prepare(ctx), s.readClock(ctx)); err != nil {
		b.Fatal(err)
	}
	empty := func(b *testing.B) {
		b.Helper()
		for _, table := range []string{"github_processed_repos", "github_daily", "github_pushes", "github_metrics_timeseries", "sink_commits"} {
			if err := s.conn.Exec(ctx, "TRUNCATE TABLE pulse."+table); err != nil {
				b.Fatal(err)
			}
		}
		at, err := redis.ParseURL(cfg.Redis)
		if err != nil {
			b.Fatal(err)
		}
		r := redis.NewClient(at)
		defer r.Close()
		if err := r.FlushDB(ctx).Err(); err != nil {
			b.Fatal(err)
		}
	}
	stored := func(b *testing.B) uint64 {
		b.Helper()
		var n uint64
		if err := s.conn.QueryRow(ctx, "SELECT count() FROM pulse.github_metrics_timeseries").Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}

	// First, for its bound on memory counts what others have left of theirs.
	b.Run("drain", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			empty(b)
			b.StartTimer()
			if err := Drain(ctx, environ, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(stored(b))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("from memory", func(b *testing.B) {
		blocks := load(ctx, b, cfg)
		for b.Loop() {
			b.StopTimer()
			empty(b)
			b.StartTimer()
			u := newPending()
			for i, rows := range blocks {
				if err := s.add(ctx, "pulse.", rows, rows); err != nil {
					b.Fatal(err)
				}
				u.add(rows)
				if u.records < bulkWait && i < len(blocks)-1 {
					continue
				}
				if err := s.insertState(ctx, "pulse.", u); err != nil {
					b.Fatal(err)
				}
				u = newPending()
			}
		}
		b.ReportMetric(float64(stored(b))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

// nowhere takes the values of a column.
type nowhere struct{}

func (nowhere) Append(any) error    { return nil }
func (nowhere) AppendRow(any) error { return nil }

// BenchmarkColumns takes the values of all columns from rows.
func BenchmarkColumns(b *testing.B) {
	rows := make([]*row, cacheRows)
	for i := range rows {
		rows[i] = at(1, int64(i))
	}
	for name, columns := range map[string][]column[row]{"series": seriesColumns(), "state": stateColumns()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, c := range columns {
					if err := c.append(nowhere{}, rows); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
		})
	}
}

// load reads all of the topic into blocks of rows, in the order of a drain.
func load(ctx context.Context, b *testing.B, cfg Config) (blocks [][]*row) {
	b.Helper()
	codec, err := event.NewCodec(cfg.Registry)
	if err != nil {
		b.Fatal(err)
	}
	ends, err := kafka.Ends(ctx, cfg.Kafka, event.TopicProcessedRepos)
	if err != nil {
		b.Fatal(err)
	}
	var left int64
	for _, end := range ends {
		left += end
	}
	client, err := kgo.NewClient(append(cfg.Kafka.Options(), kgo.ConsumeTopics(event.TopicProcessedRepos),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	read, rows := decode(codec), []*row(nil)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for left > 0 && ctx.Err() == nil {
		client.PollRecords(ctx, bulkBlock-len(rows)).EachRecord(func(rec *kgo.Record) {
			left--
			if rec.Attrs.IsControl() {
				return
			}
			r := &row{topicID: "0123456789abcdef0123456789abcdef"}
			if err := read(ctx, rec, r); err != nil {
				b.Fatal(err)
			}
			rows = append(rows, r)
		})
		if len(rows) == bulkBlock || left == 0 {
			blocks, rows = append(blocks, rows), nil
		}
	}
	if left > 0 {
		b.Fatal("the topic could not be read: ", ctx.Err())
	}
	return blocks
}
