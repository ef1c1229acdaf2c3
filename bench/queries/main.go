// Command queries measures the dashboards' queries, as Superset sends them, over
// a large hot store:
//
//	go run ./bench/queries -days 36,366
//
// 30,000 repositories are read every hour for so many days, with growth of every
// size, stars taken back, lost hours and lost days; the newest 36 days with all of
// a row's columns, older ones with those that a dashboard reads. With -events 100000000
// there are so many events of a year besides two days of readings, and the queries are
// those of Contributors and Flow. Each query is run on what the
// dashboards read and, so far as that differs, on the plain time series.
// dashboards.json is recorded from a browser and held against it by `make
// integration`.
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
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/m7pulse/m7pulse/bench/hot"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

type bench struct {
	address  string
	repos    int
	runs     int
	cold     int
	patience time.Duration
}

func main() {
	log.SetFlags(0)
	b := bench{}
	dir := flag.String("dir", "", "folder of the data, kept; empty: a new one, removed at the end")
	pulse := flag.String("pulse", "bin/pulse", "the program")
	events := flag.Int("events", 0, "events of a year, and the queries of Contributors and Flow over them, instead of those of the other dashboards; 0: none")
	sizes := flag.String("days", "36", "days of hourly readings, one size after the other, ascending")
	flag.IntVar(&b.repos, "repos", 30_000, "repositories")
	flag.IntVar(&b.runs, "runs", 20, "warm runs of each query")
	flag.IntVar(&b.cold, "cold", 3, "runs of each query with empty caches: the operating system's too, if this is root")
	flag.DurationVar(&b.patience, "plain", 10*time.Second, "longest time for the same query over the plain time series, run once; 0: not run")
	flag.Parse()
	if err := b.run(context.Background(), *dir, *pulse, *sizes, *events); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run(ctx context.Context, dir, pulse, sizes string, events int) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "m7pulse-bench-queries-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	text, err := os.ReadFile("bench/queries/dashboards.json")
	if err != nil {
		return err
	}
	var queries []query
	if err := json.Unmarshal(text, &queries); err != nil {
		return err
	}
	server, err := hot.Serve(ctx, pulse, filepath.Join(dir, "clickhouse"))
	if err != nil {
		return err
	}
	defer server.Stop()
	b.address = server.Address
	if err := sinkclickhouse.Prepare(ctx, b.address); err != nil {
		return err
	}
	if events > 0 {
		if err := b.fill(ctx, 2); err != nil {
			return err
		}
		if err := b.fillEvents(ctx, events); err != nil {
			return err
		}
		return b.measureEvents(ctx)
	}
	before := map[string]figures{}
	for _, size := range strings.Split(sizes, ",") {
		days, err := strconv.Atoi(size)
		if err != nil {
			return fmt.Errorf("-days: %w", err)
		}
		if err := b.fill(ctx, days); err != nil {
			return err
		}
		if before, err = b.measure(ctx, queries, before); err != nil {
			return err
		}
	}
	return nil
}

// query is one of dashboards.json.
type query struct {
	Dashboard string `json:"dashboard"`
	SQL       string `json:"sql"`
}

// figures are what was measured of a query.
type figures struct {
	p50, p95, cold time.Duration
	bytes          int64
}

var (
	comment  = regexp.MustCompile(`--[^\n]*`)
	daily    = regexp.MustCompile(`pulse\.github_daily( FINAL)?(\s+WHERE )(day (?:> toDate\(newest\) - \d+|BETWEEN toDate\(newest\) - \d+ AND toDate\(newest\) - \d+))?`)
	selected = regexp.MustCompile("WHERE `repository` IN")
)

// overSeries is a query as it would be without the tables that follow from the
// time series.
func overSeries(sql string) string {
	sql = daily.ReplaceAllStringFunc(sql, func(m string) string {
		parts := daily.FindStringSubmatch(m)
		when := parts[3]
		if when == "" {
			when = "true"
		}
		return "(SELECT *, stars_per_day_24h, stars_per_day_7d, stars_per_day_30d, open_issues_per_day_7d, toDate(observed_at) AS day FROM pulse.github_metrics_timeseries WHERE " + strings.ReplaceAll(when, "day ", "toDate(observed_at) ") +
			" ORDER BY observed_at DESC LIMIT 1 BY repo_id, day)" + parts[2] + parts[3]
	})
	sql = strings.ReplaceAll(sql, "min(day) FROM pulse.github_daily", "min(toDate(observed_at)) FROM pulse.github_metrics_timeseries")
	return strings.ReplaceAll(sql, "pulse.github_pushes FINAL", "(SELECT DISTINCT repo_id, assumeNotNull(pushed_at) AS pushed_at FROM pulse.github_metrics_timeseries WHERE isNotNull(pushed_at))")
}

func (b *bench) measure(ctx context.Context, queries []query, before map[string]figures) (map[string]figures, error) {
	var rows, bytes int64
	answer, err := b.ask(ctx, "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'github_metrics_timeseries' FORMAT TSV", forever, nil)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(answer, &rows, &bytes); err != nil {
		return nil, err
	}
	sizes, err := b.ask(ctx, "SELECT table, sum(rows), formatReadableSize(sum(bytes_on_disk)), round(sum(bytes_on_disk) / sum(rows), 1) FROM system.parts WHERE active AND database = 'pulse' AND rows > 1000 GROUP BY table ORDER BY table FORMAT TSV", forever, nil)
	if err != nil {
		return nil, err
	}
	fmt.Printf("\n%d rows in the time series, %.1f bytes a row on disk. Table, rows, size, bytes a row:\n%s\n", rows, float64(bytes)/float64(rows), sizes)
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"#", "Dashboard", "Kind", "p50 ms", "p95 ms", "Cold ms", "MB read", "Plain ms", "Plain / p50", "× before"})
	out := map[string]figures{}
	worst := map[string]time.Duration{}
	for i, q := range queries {
		kind := "whole market"
		switch {
		case selected.MatchString(q.SQL):
			kind = "repositories"
		case strings.Contains(q.SQL, "WHERE `company` IN"):
			kind = "company"
		}
		sql := b.localize(q.SQL)
		f, err := b.time(ctx, sql)
		if err != nil {
			return nil, fmt.Errorf("query %d of %s: %w", i+1, q.Dashboard, err)
		}
		row := table.Row{i + 1, q.Dashboard, kind, ms(f.p50), ms(f.p95), ms(f.cold), fmt.Sprintf("%.1f", float64(f.bytes)/1e6), "", "", ""}
		if plain := overSeries(comment.ReplaceAllString(sql, "")); b.patience > 0 && plain != comment.ReplaceAllString(sql, "") {
			took, err := b.once(ctx, plain, b.patience)
			switch {
			case err == nil:
				row[7], row[8] = ms(took), fmt.Sprintf("%.1f", float64(took)/float64(f.p50))
			case errors.Is(err, errPatience):
				row[7], row[8] = "> "+ms(b.patience), fmt.Sprintf("> %.1f", float64(b.patience)/float64(f.p50))
			case errors.Is(err, errMemory):
				row[7], row[8] = "no memory", ""
			default:
				return nil, fmt.Errorf("query %d of %s over the time series: %w\n%s", i+1, q.Dashboard, err, plain)
			}
		}
		if was, ok := before[q.SQL]; ok {
			row[9] = fmt.Sprintf("%.1f", float64(f.p50)/float64(was.p50))
		}
		t.AppendRow(row)
		log.Printf("%d of %d", i+1, len(queries))
		out[q.SQL] = f
		worst[kind] = max(worst[kind], f.p95)
	}
	t.Render()
	for _, kind := range []string{"repositories", "company", "whole market"} {
		fmt.Printf("worst p95, %s: %s ms\n", kind, ms(worst[kind]))
	}
	return out, nil
}

func ms(d time.Duration) string { return strconv.FormatFloat(d.Seconds()*1000, 'f', 0, 64) }

// localize puts repositories of ours in the place of those of the recording.
func (b *bench) localize(sql string) string {
	for i, name := range []string{"google-gemini/gemini-cli", "facebook/react", "flutter/flutter", "pytorch/pytorch", "angular/angular", "tensorflow/tensorflow"} {
		sql = strings.ReplaceAll(sql, "'"+name+"'", "'"+b.name(i*(b.repos/7)+i)+"'")
	}
	return sql
}

func (b *bench) time(ctx context.Context, sql string) (f figures, err error) {
	for range b.cold {
		if err := b.forget(ctx); err != nil {
			return f, err
		}
		took, err := b.once(ctx, sql, forever)
		if err != nil {
			return f, err
		}
		f.cold = max(f.cold, took)
	}
	var all []time.Duration
	for range b.runs {
		began := time.Now()
		if _, err := b.ask(ctx, sql, forever, &f.bytes); err != nil {
			return f, err
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	f.p50, f.p95 = all[len(all)/2], all[(len(all)*95+99)/100-1] // by nearest rank: of 20 the 19th
	return f, nil
}

// once is the time of one run.
func (b *bench) once(ctx context.Context, sql string, patience time.Duration) (took time.Duration, err error) {
	began := time.Now()
	_, err = b.ask(ctx, sql, patience, nil)
	return time.Since(began), err
}

// forget empties the caches.
func (b *bench) forget(ctx context.Context) error {
	for _, cache := range []string{"MARK CACHE", "UNCOMPRESSED CACHE"} {
		if _, err := b.ask(ctx, "SYSTEM DROP "+cache, forever, nil); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0)
}

// forever is as long as a statement may take where nothing else is said.
const forever = time.Hour

// A statement took longer, or more memory, than it was given.
var (
	errPatience = errors.New("out of patience")
	errMemory   = errors.New("out of memory")
)

// ask runs a statement; read is set to the bytes that it read.
func (b *bench) ask(ctx context.Context, sql string, patience time.Duration, read *int64) (string, error) {
	sql = strings.TrimRight(strings.TrimSpace(sql), ";")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/?wait_end_of_query=1&max_execution_time=%.0f&max_threads=2", b.address, patience.Seconds()), strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if strings.Contains(string(body), "TIMEOUT_EXCEEDED") {
		return "", errPatience
	}
	if strings.Contains(string(body), "memory limit exceeded") {
		return "", errMemory
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %.600s", resp.Status, body)
	}
	if read != nil {
		var summary struct {
			Bytes string `json:"read_bytes"`
		}
		if err := json.Unmarshal([]byte(resp.Header.Get("X-ClickHouse-Summary")), &summary); err == nil {
			*read, _ = strconv.ParseInt(summary.Bytes, 10, 64) // a server that does not say is no failure
		}
	}
	return string(body), nil
}
