package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/bench/hot"
	"github.com/m7pulse/m7pulse/bench/series"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/local/redis"
	"github.com/m7pulse/m7pulse/shared/event"
)

// sinks runs each sink's benchmark against its store's bare writer, then its bulk
// job as a process of its own, over all records, and audits, rebuilds and
// maintains what came out.
func (b *bench) sinks(ctx context.Context) (err error) {
	client, err := kgo.NewClient(b.kafka.Options()...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := series.Recreate(ctx, kadm.NewClient(client), event.TopicSweeps); err != nil { // the sinks read it too
		return err
	}
	at, err := b.stores(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	env, cold := at.env, at.cold
	for _, name := range []string{"sink-clickhouse", "sink-iceberg"} {
		if !b.bare {
			break
		}
		test := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "BulkJob", "-benchtime", "1x", "-timeout", "1h", "./functions/"+name)
		test.Env, test.Stdout, test.Stderr = env, os.Stdout, os.Stderr
		if err := test.Run(); err != nil {
			return fmt.Errorf("benchmark of %s: %w", name, err)
		}
	}
	if err := sinkclickhouse.Prepare(ctx, at.server.Address); err != nil {
		return err
	}
	conn, err := sinkclickhouse.Open(at.server.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, table := range []string{"github_processed_repos", "github_daily", "github_pushes", "github_metrics_timeseries", "sink_commits"} {
		if err := conn.Exec(ctx, "TRUNCATE TABLE IF EXISTS pulse."+table); err != nil {
			return err
		}
	}
	for _, name := range []string{"sink-clickhouse", "sink-iceberg"} {
		began := time.Now()
		r, err := b.process(ctx, env, name, "drain")
		if err != nil {
			return err
		}
		r.Seconds = time.Since(began).Seconds()
		if r.Records, err = b.stored(ctx, name, conn, cold); err != nil {
			return err
		}
		r.print()
	}
	return b.prove(ctx, env)
}

// stores are empty stores, and the environment in which a process finds them and
// the topics.
type stores struct {
	env    []string
	state  *redis.Server
	server *hot.Server // ClickHouse
	cold   sinkiceberg.Location
	close  func() error
}

func (b *bench) stores(ctx context.Context) (*stores, error) {
	dir, err := os.MkdirTemp("", "m7pulse-bench-stores-")
	if err != nil {
		return nil, err
	}
	state, err := redis.Start(ctx, redis.Config{Dir: filepath.Join(dir, "redis")})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	server, err := hot.Serve(ctx, filepath.Join(filepath.Dir(b.program), "pulse"), filepath.Join(dir, "clickhouse"))
	if err != nil {
		state.Close()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	cold := sinkiceberg.Location{Catalog: "sqlite://" + filepath.Join(dir, "catalog.db"), Warehouse: "file://" + filepath.Join(dir, "warehouse")}
	return &stores{
		env: append(os.Environ(), "KAFKA_BROKERS="+strings.Join(b.kafka.Brokers, ","), "SCHEMA_REGISTRY_URL="+b.registry,
			"REDIS_URL=redis://"+state.Addr(), "CLICKHOUSE_URL="+server.Address, "ICEBERG_CATALOG_URI="+cold.Catalog, "ICEBERG_WAREHOUSE="+cold.Warehouse),
		state: state, server: server, cold: cold,
		close: func() error {
			server.Stop()
			state.Close()
			return os.RemoveAll(dir)
		},
	}, nil
}

// stored counts the rows that arrived in a store, each table's.
func (b *bench) stored(ctx context.Context, sink string, conn driver.Conn, at sinkiceberg.Location) (int64, error) {
	if sink == "sink-clickhouse" {
		var n uint64
		err := conn.QueryRow(ctx, "SELECT count() FROM pulse.github_metrics_timeseries").Scan(&n)
		return int64(n), err
	}
	cold, closeCold, err := sinkiceberg.Open(ctx, at)
	if err != nil {
		return 0, err
	}
	defer closeCold()
	var n int64
	for _, name := range []string{sinkiceberg.TableBase, sinkiceberg.TableProcessed} {
		rows, err := sinkiceberg.Rows(ctx, cold, name)
		if err != nil {
			return 0, err
		}
		n += rows
	}
	return n, nil
}
