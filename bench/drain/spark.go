package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// theirs runs Spark's job over the whole topic, in batches of 500,000, with its rows
// dropped.
func (b *bench) theirs(ctx context.Context) (result, error) {
	r, err := b.runSpark(ctx)
	r.Side = "spark, rows dropped"
	return r, err
}

// theirWhole runs it into Iceberg and an empty ClickHouse, which is counted.
func (b *bench) theirWhole(ctx context.Context) (r result, err error) {
	at, err := b.stores(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	if err := sinkclickhouse.Prepare(ctx, at.server.Address); err != nil {
		return r, err
	}
	conn, err := sinkclickhouse.Open(at.server.Address)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	var columns []string
	if err := conn.QueryRow(ctx, `SELECT groupArray(name) FROM system.columns
		WHERE database = 'pulse' AND table = 'github_metrics_timeseries' AND default_kind = ''`).Scan(&columns); err != nil {
		return r, fmt.Errorf("list the columns of the time series: %w", err)
	}
	if r, err = b.runSpark(ctx, "CLICKHOUSE="+strings.TrimPrefix(at.server.Address, "http://"), "SERIES="+strings.Join(columns, ",")); err != nil {
		return r, err
	}
	r.Side = "spark, Iceberg raw and processed, ClickHouse"
	var rows uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM pulse.github_metrics_timeseries").Scan(&rows); err != nil {
		return r, err
	}
	if int64(rows) != r.Records {
		return r, fmt.Errorf("%d rows in ClickHouse of %d records", rows, r.Records)
	}
	return r, r.add(at.server.Usage)
}

// runSpark runs the job and returns what its JVM and Python used.
func (b *bench) runSpark(ctx context.Context, env ...string) (result, error) {
	counters := velocity.Counters()
	spark := exec.CommandContext(ctx, filepath.Join(b.spark, "venv/bin/python"), "bench/spark/pipeline.py")
	spark.Env = append(append(os.Environ(), "BOOT="+strings.Join(b.kafka.Brokers, ","), "TOPIC="+event.TopicBaseRepos, "COUNTERS="+strings.Join(counters[:], ","),
		"JARS="+filepath.Join(b.spark, "jars"), "WORK="+filepath.Join(b.work, "spark"), "SCHEMA=shared/event/schemas/repo_observed.avsc"), env...)
	var errs bytes.Buffer
	spark.Stderr = &errs
	out, err := spark.Output()
	if err != nil {
		return result{}, fmt.Errorf("spark: %w: %s", err, errs.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var r struct {
		Records int64   `json:"records"`
		Seconds float64 `json:"query_s"`
		CPU     float64 `json:"cpu_s"`
		JVM     int64   `json:"jvm_peak_rss_mb"`
		Python  int64   `json:"py_peak_rss_mb"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		return result{}, fmt.Errorf("spark said %q: %w", lines[len(lines)-1], err)
	}
	return result{Records: r.Records, Seconds: r.Seconds, CPU: r.CPU, MiB: r.JVM + r.Python}, nil
}
